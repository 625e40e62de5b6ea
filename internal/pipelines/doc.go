// Package pipelines tests what CI systems use of this repository: the GitLab
// component, the examples and the problem matcher. It runs the systems' own tools
// where they work on one machine.
package pipelines
