package ci

import (
	"io"
	"strings"

	"github.com/sethvargo/go-githubactions"
)

// Input returns an input of the action, trimmed, or "" if it is not set.
func Input(env Env, name string) string {
	return githubactions.New(githubactions.WithGetenv(func(key string) string { return env[key] })).GetInput(name)
}

// Lines returns the lines of an input, trimmed and without empty ones.
func Lines(env Env, name string) []string {
	var all []string
	for line := range strings.Lines(Input(env, name)) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}

// minMasked is the length in bytes of the shortest lines that are masked: shorter
// texts occur in logs by chance.
const minMasked = 8

// Mask writes commands to w that make GitHub's runner replace each line of text by
// *** in the rest of the job's log. w is an output that the runner reads.
func Mask(w io.Writer, text string) {
	action := githubactions.New(githubactions.WithWriter(lineFeeds{w}))
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); len(line) >= minMasked {
			action.AddMask(line)
		}
	}
}
