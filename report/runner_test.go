package report

import (
	"slices"
	"strings"
	"testing"
	"unicode"
)

// workflowCommand is a command that GitHub's runner finds in a line of output.
type workflowCommand struct {
	name       string
	properties map[string]string
	data       string
}

// runnerCommand parses a line as the runner does, by both of its parsers. It takes
// any word for a command, where the runner has a list.
// Their grammar: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
// and https://learn.microsoft.com/en-us/azure/devops/pipelines/scripts/logging-commands
func runnerCommand(line string) (workflowCommand, bool) {
	if c, ok := colonCommand(line); ok {
		return c, true
	}
	return bracketCommand(line)
}

// colonCommand reads "::name key=value,key=value::data", after blanks.
func colonCommand(line string) (workflowCommand, bool) {
	rest, ok := strings.CutPrefix(strings.TrimLeftFunc(line, unicode.IsSpace), "::")
	if !ok {
		return workflowCommand{}, false
	}
	head, data, ok := strings.Cut(rest, "::")
	if !ok {
		return workflowCommand{}, false
	}
	return newCommand(head, ",", data), true
}

// bracketCommand reads "##[name key=value;key=value]data", anywhere in a line.
func bracketCommand(line string) (workflowCommand, bool) {
	_, rest, ok := strings.Cut(line, "##[")
	if !ok {
		return workflowCommand{}, false
	}
	head, data, ok := strings.Cut(rest, "]")
	if !ok {
		return workflowCommand{}, false
	}
	return newCommand(head, ";", data), true
}

func newCommand(head, separator, data string) workflowCommand {
	name, pairs, _ := strings.Cut(head, " ")
	c := workflowCommand{name, map[string]string{}, unescaped(data)}
	for pair := range strings.SplitSeq(strings.TrimSpace(pairs), separator) {
		if key, value, ok := strings.Cut(pair, "="); ok {
			c.properties[key] = unescaped(value)
		}
	}
	return c
}

func unescaped(s string) string {
	return strings.NewReplacer("%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",", "%3B", ";", "%5D", "]", "%25", "%").Replace(s)
}

// checkCommands fails the test if a CI system would take a line for a command, except
// for annotations in the github format. It returns these.
func checkCommands(t *testing.T, format, out string) []workflowCommand {
	t.Helper()
	var ours []workflowCommand
	for line := range strings.SplitSeq(out, "\n") {
		c, ok := runnerCommand(line)
		if !ok || format == "github" {
			checkRecognised(t, format, line, ok)
		}
		if !ok {
			continue
		}
		if format != "github" || c.name != "error" && c.name != "warning" {
			t.Errorf("%s: a runner takes this for the command %q: %q", format, c.name, line)
			continue
		}
		for key := range c.properties {
			if !slices.Contains([]string{"title", "file", "line", "col"}, key) {
				t.Errorf("the annotation has a property %q: %q", key, line)
			}
		}
		// The runner prints the text as lines of the log.
		for text := range strings.SplitSeq(c.data, "\n") {
			checkRecognised(t, format, text, false)
		}
		ours = append(ours, c)
	}
	return ours
}

// checkRecognised fails the test if any system finds a command in a line. The line
// of an annotation is one for GitHub, and for no other system.
func checkRecognised(t *testing.T, format, line string, annotation bool) {
	t.Helper()
	if annotation {
		line = "x" + line
	}
	if system, found := recognised(line); found != "" {
		t.Errorf("%s: %s takes %q for a command: %q", format, system, found, line)
	}
}

func TestRunnerCommand(t *testing.T) {
	for line, want := range map[string]string{
		"::error::x": "error", "  \t::add-mask::80": "add-mask", "::set-env name=A,x=b%2C::y": "set-env",
		"x ##[add-mask]80": "add-mask", "a##[group x=1;y=2]z": "group",
		"x::error::y": "", "::error": "", "##[": "", "# #[x]": "", "": "",
	} {
		if c, ok := runnerCommand(line); ok != (want != "") || c.name != want {
			t.Errorf("%q: %q, want %q", line, c.name, want)
		}
	}
	c, _ := runnerCommand("::error title=a%3Ab%2C,line=3::50%25%0Amore")
	if c.properties["title"] != "a:b," || c.properties["line"] != "3" || c.data != "50%\nmore" {
		t.Errorf("%+v", c)
	}
}

// Whatever text a report has, the runner finds one annotation for the problem and
// one for the need.
func TestAnnotationsAsTheRunnerReadsThem(t *testing.T) {
	for _, s := range hostile {
		r := filled(s)
		found := checkCommands(t, "github", inAllFormats(t, r, Options{Root: "/repo"})["github"])
		if len(found) != 2 {
			t.Fatalf("%q: %d annotations, want one for the problem and one for the need", s, len(found))
		}
		for _, c := range found {
			if c.data == "" || c.properties["title"] == "" {
				t.Errorf("%q: %+v", s, c)
			}
		}
	}
}
