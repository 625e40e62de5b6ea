package ci

import (
	"io"
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

// maskedFrom is the length in bytes from which a line is masked: shorter ones are
// in any log by chance.
const maskedFrom = 8

// Mask has GitHub's runner put *** in the place of each line of a text, in
// whatever the job says from here on. The runner reads w.
func Mask(w io.Writer, text string) {
	action := githubactions.New(githubactions.WithWriter(w))
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); len(line) >= maskedFrom {
			action.AddMask(line)
		}
	}
}
