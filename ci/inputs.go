package ci

import (
	"strings"

	"github.com/sethvargo/go-githubactions"
)

// Input is an input of the action, trimmed; empty if it was not given.
func Input(env Env, name string) string {
	return githubactions.New(githubactions.WithGetenv(func(key string) string { return env[key] })).GetInput(name)
}

// Lines are the lines of an input that hold something, trimmed.
func Lines(env Env, name string) []string {
	var all []string
	for line := range strings.Lines(Input(env, name)) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}
