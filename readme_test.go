//go:build linux

package main

import (
	"errors"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/org/portcheck/cli"
	"github.com/org/portcheck/internal/testbed"
)

var update = flag.Bool("update", false, "write the output of commands into README.md and documents")

// TestREADMEShowsRealOutput runs the commands of README.md and of documents, and compares
// their output with what is shown, except for what differs between machines.
func TestREADMEShowsRealOutput(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "portcheck"), ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	for _, file := range []string{"README.md", "docs/sources.md", "docs/assign.md"} {
		showsRealOutput(t, file)
	}
	l, err := net.Listen("tcp4", "0.0.0.0:9090") // which no need declares
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	showsRealOutput(t, "docs/watch.md")
}

func showsRealOutput(t *testing.T, file string) {
	t.Helper()
	const marker = "<!-- output: "
	readme, err := os.ReadFile(file)
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
		if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
			t.Errorf("%s: %v", command, err)
		}
		actual := "$ " + command + "\n" + strings.TrimSuffix(string(out), "exit status 1\n")
		if normalize(actual) != normalize(shown) && !*update {
			t.Errorf("%s is stale (go test . -run README -update writes it): %s\nprints:\n%s\nshown:\n%s", file, command, actual, shown)
		}
		text += marker + command + " -->\n```console\n" + actual + "```"
		rest = after
	}
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
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
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "TIME"},
		{`(?m)^[a-z2-7]{12}  (e2e-\d)  shop  +\d+  +\S+`, "ID  $1  shop  N  NAME"},
		{`watched for \S+ in \d+ rounds`, "watched for TIME in N rounds"},
		{`python3[.\d]*`, "python3"},
		{`  +`, "  "},
		{`\(([a-z]+ network namespace: [^)]+|this machine)\)`, "(SOME network namespace)"},
	} {
		s = regexp.MustCompile(r[0]).ReplaceAllString(s, r[1])
	}
	return s
}

// TestREADMEManifestPasses checks that the README's manifest passes as it is on a stock
// host, on which systemd-resolved has 127.0.0.53:53 and sshd has 22.
func TestREADMEManifestPasses(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```yaml\nversion: 1\n")
	manifest, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("README.md has no manifest")
	}
	for _, address := range []string{"127.0.0.53:53", "0.0.0.0:22"} {
		l, err := net.Listen("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	file := filepath.Join(t.TempDir(), "portcheck.yml")
	if err := os.WriteFile(file, []byte("version: 1\n"+manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if code := cli.Run(t.Context(), []string{"-t", "local", "--fail-on", "warning", file}, nil, strings.NewReader(""), &out, &out); code != 0 {
		t.Errorf("exit code %d\n%s", code, &out)
	}
}
