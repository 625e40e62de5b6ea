// Package ci detects the CI system that runs the program, and writes results in
// the form that it reads. The environment is a parameter, never os.Getenv.
package ci

import "strings"

// Env is a process's environment.
type Env map[string]string

// NewEnv returns the environment from entries as os.Environ returns them.
func NewEnv(environ []string) Env {
	env := Env{}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	return env
}

// GitHub reports whether a GitHub Actions runner started the program.
func GitHub(env Env) bool { return env["GITHUB_ACTIONS"] == "true" }

// Act reports whether act runs the job. Its jobs of all runs have the same variables.
func Act(env Env) bool { return GitHub(env) && env["ACT"] == "true" }

// Workspace returns the root of the job's checkout, or "" if there is none.
func Workspace(env Env) string { return env["GITHUB_WORKSPACE"] }
