package cli

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/org/portcheck/ci"
)

// documents returns the text of README.md and of the documents, by their paths.
func documents(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal("no documents", err)
	}
	all := map[string]string{}
	for _, file := range append(files, "../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[file] = string(text)
	}
	return all
}

// TestDocumentedCommandsExist checks the commands that documents show: portcheck has the
// command and its flags. What they print is compared where a block is marked with it.
func TestDocumentedCommandsExist(t *testing.T) {
	inline := regexp.MustCompile("`(?:sudo )?portcheck( [^`\n]+)`")
	line := regexp.MustCompile(`(?m)(?:^|[ (])portcheck((?: [^|;&<>#\n]+)?)`)
	block := regexp.MustCompile("(?ms)^```(?:sh|console)\n(.*?)^```")
	checked := 0
	for file, text := range documents(t) {
		var commands []string
		for _, m := range inline.FindAllStringSubmatch(text, -1) {
			commands = append(commands, m[1])
		}
		for _, b := range block.FindAllStringSubmatch(text, -1) {
			for shown := range strings.Lines(strings.NewReplacer("\\\n", " ", "kubectl run portcheck", "").Replace(b[1])) {
				if command, isCommand := strings.CutPrefix(shown, "$ "); isCommand || !strings.Contains(b[1], "$ ") {
					for _, m := range line.FindAllStringSubmatch(command, -1) {
						commands = append(commands, m[1])
					}
				}
			}
		}
		for _, command := range commands {
			checked++
			if err := missing(strings.Fields(command)); err != nil {
				t.Errorf("%s: portcheck%s: %v", file, command, err)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d commands found", checked)
	}
}

// missing returns an error if portcheck has no such command, or not one of its flags.
func missing(args []string) error {
	for i := range args {
		args[i] = strings.Trim(args[i], `"'`)
	}
	cmd, rest, err := (&app{env: ci.Env{}}).allCommands().Find(args)
	if err != nil {
		return err
	}
	if end := slices.Index(rest, "--"); end >= 0 {
		rest = rest[:end]
	}
	var unknown *pflag.NotExistError
	if err := cmd.ParseFlags(rest); errors.As(err, &unknown) { // a value may stand for others: --until DURATION
		return err
	}
	return nil
}

// TestShownOutputIsCompared checks that what a document shows as printed is marked with
// the command that prints it, which a test runs; figures of benchmarks are not.
func TestShownOutputIsCompared(t *testing.T) {
	block := regexp.MustCompile("(?ms)^([^\n]*)\n```console\n(.*?)^```")
	for file, text := range documents(t) {
		for _, b := range block.FindAllStringSubmatch(text, -1) {
			for shown := range strings.Lines(b[2]) {
				if !strings.HasPrefix(shown, "$ ") && !strings.HasPrefix(b[1], "<!-- output: ") && !strings.HasPrefix(b[2], "$ go run ./testdata/bench") {
					t.Errorf("%s: no test compares %q", file, shown)
					break
				}
			}
		}
	}
}
