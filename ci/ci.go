// Package ci knows the CI system around the program: whether there is one, and
// how to hand results to it. The environment is a parameter, never os.Getenv.
package ci

import "strings"

// Env is a process's environment.
type Env map[string]string

// NewEnv reads os.Environ's form.
func NewEnv(environ []string) Env {
	env := Env{}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	return env
}

// GitHub says whether a GitHub Actions runner started the program.
func GitHub(env Env) bool { return env["GITHUB_ACTIONS"] == "true" }

// Workspace is the root of the job's checkout, empty if there is none.
func Workspace(env Env) string { return env["GITHUB_WORKSPACE"] }
