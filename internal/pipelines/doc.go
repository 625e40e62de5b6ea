// Package pipelines tests what CI systems take from this repository, the GitLab
// component, the examples and the problem matcher, with those systems' own
// tools where they run on one machine.
package pipelines
