// Package hooks tests .pre-commit-hooks.yaml with the installed pre-commit, by
// commits and pushes in repositories that the tests create.
package hooks
