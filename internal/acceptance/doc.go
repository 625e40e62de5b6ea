//go:build linux

// Package acceptance holds the tests that start portcheck's image on a real
// container engine, as GitHub, GitLab and Jenkins do.
package acceptance
