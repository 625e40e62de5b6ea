//go:build linux

// Package acceptance tests portcheck's image on a real container engine, started
// as GitHub, GitLab and Jenkins start it.
package acceptance
