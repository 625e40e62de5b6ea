// Package hooks tests .pre-commit-hooks.yaml with the pre-commit that is
// installed: in repositories of its own, as commits and pushes run it.
package hooks
