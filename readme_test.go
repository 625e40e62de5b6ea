//go:build linux

package main

import (
	"flag"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

var update = flag.Bool("update", false, "write the output of commands into README.md")

// TestREADMEShowsRealOutput runs the commands of README.md and compares their
// output with what is shown, except for what differs between machines.
func TestREADMEShowsRealOutput(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	const marker = "<!-- output: "
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	text, rest := "", string(readme)
	for {
		before, after, found := strings.Cut(rest, marker)
		text += before
		if !found {
			break
		}
		command, after, _ := strings.Cut(after, " -->\n```console\n")
		shown, after, closed := strings.Cut(after, "```")
		if !closed {
			t.Fatalf("%s: no console block follows", command)
		}
		words := strings.Fields(command)
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v", command, err)
		}
		actual := "$ " + command + "\n" + string(out)
		if normalize(actual) != normalize(shown) && !*update {
			t.Errorf("README.md is stale (go test . -run README -update writes it): %s\nprints:\n%s\nshown:\n%s", command, actual, shown)
		}
		text += marker + command + " -->\n```console\n" + actual + "```"
		rest = after
	}
	if *update {
		if err := os.WriteFile("README.md", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// normalize replaces what differs between machines and runs.
func normalize(s string) string {
	for _, r := range [][2]string{
		{`pid \d+`, "pid N"},
		{"kill \\d+", "kill N"},
		{`since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`, "since TIME"},
		{`user [^)]+\)`, "user NAME)"},
		{`\(([a-z]+ network namespace: [^)]+|this machine)\)`, "(SOME network namespace)"},
	} {
		s = regexp.MustCompile(r[0]).ReplaceAllString(s, r[1])
	}
	return s
}
