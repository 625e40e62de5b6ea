package report

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

type command struct {
	level   string
	fields  map[string]string
	message string
}

// parseCommands reads workflow commands as the runner does
// (ActionCommand.TryParseV2 of actions/runner).
func parseCommands(t *testing.T, out string) []command {
	t.Helper()
	unescape := func(s string, property bool) string {
		pairs := []string{"%0D", "\r", "%0A", "\n", "%25", "%"}
		if property {
			pairs = append(pairs, "%3A", ":", "%2C", ",")
		}
		return strings.NewReplacer(pairs...).Replace(s)
	}
	var all []command
	for line := range strings.Lines(out) {
		head, message, ok := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "::"), "::")
		level, properties, _ := strings.Cut(head, " ")
		if !ok || !strings.HasPrefix(line, "::") {
			t.Fatalf("not a command: %q", line)
		}
		c := command{level: level, fields: map[string]string{}, message: unescape(message, false)}
		for pair := range strings.SplitSeq(properties, ",") {
			name, value, _ := strings.Cut(pair, "=")
			c.fields[name] = unescape(value, true)
		}
		all = append(all, c)
	}
	return all
}

func annotate(t *testing.T, r check.Report, o Options) []command {
	t.Helper()
	return parseCommands(t, inAllFormats(t, r, o)["github"])
}

// absolute returns a path that starts with a slash as an absolute one of this system.
func absolute(path string) string {
	if runtime.GOOS == "windows" && strings.HasPrefix(path, "/") {
		return `C:` + filepath.FromSlash(path)
	}
	return path
}

func TestAnnotationFile(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		o    Options
		want string
	}{
		"as named":           {"portcheck.yml", Options{}, "portcheck.yml"},
		"relative to root":   {"a/portcheck.yml", Options{Root: "/repo"}, "a/portcheck.yml"},
		"in a subdirectory":  {"portcheck.yml", Options{Root: "/repo", Dir: "/repo/sub"}, "sub/portcheck.yml"},
		"up and down":        {"../b/portcheck.yml", Options{Root: "/repo", Dir: "/repo/a"}, "b/portcheck.yml"},
		"absolute":           {"/repo/sub/portcheck.yml", Options{Root: "/repo", Dir: "/elsewhere"}, "sub/portcheck.yml"},
		"outside":            {"/etc/portcheck.yml", Options{Root: "/repo"}, ""},
		"outside by dots":    {"../portcheck.yml", Options{Root: "/repo", Dir: "/repo"}, ""},
		"a sibling":          {"/repository/portcheck.yml", Options{Root: "/repo"}, ""},
		"absolute, no root":  {"/repo/portcheck.yml", Options{}, ""},
		"flag":               {"--port", Options{Root: "/repo", Dir: "/repo"}, ""},
		"standard input":     {"-", Options{Root: "/repo", Dir: "/repo"}, ""},
		"a comma and colons": {"a,b::c%25.yml", Options{Root: "/repo"}, "a,b::c%25.yml"},
	} {
		if runtime.GOOS == "windows" && strings.Contains(c.file, ":") {
			continue // no file has such a name
		}
		r := results()["in-use"]
		r.Source.File = absolute(c.file)
		c.o.Root, c.o.Dir = absolute(c.o.Root), absolute(c.o.Dir)
		got := annotate(t, reportOf(r), c.o)[0].fields
		if got["file"] != c.want || (got["line"] == "6") != (c.want != "") || (got["col"] == "11") != (c.want != "") {
			t.Errorf("%s: %v, want file %q", name, got, c.want)
		}
	}
}

func TestAnnotationsAreOneForEachNeed(t *testing.T) {
	got := annotate(t, several(), Options{})
	if len(got) != 3 {
		t.Fatalf("%d annotations, want 3: web (tcp and udp), cache, metrics", len(got))
	}
	if !strings.Contains(got[0].message, "tcp 8080") || !strings.Contains(got[0].message, "udp 8080") {
		t.Errorf("the need of two protocols: %s", got[0].message)
	}
	if got[2].level != "warning" || got[2].fields["title"] != "portcheck: metrics" {
		t.Errorf("the warning: %v", got[2])
	}
	if got := annotate(t, reportOf(results()["free"]), Options{}); len(got) != 0 {
		t.Errorf("a met need is annotated: %v", got)
	}
}

func TestAnnotationsStayWithinTheLimit(t *testing.T) {
	for n, want := range map[int]string{10: "", 11: "2 more, see the step summary", 100: "91 more, see the step summary"} {
		var all []check.Result
		for i := range n {
			for _, severity := range []config.Severity{config.SeverityError, config.SeverityWarning} {
				r := results()["in-use"]
				r.Name, r.Severity = fmt.Sprintf("%s%d", severity, i), severity
				all = append(all, r)
			}
		}
		count := map[string]int{}
		last := map[string]string{}
		for _, c := range annotate(t, reportOf(all...), Options{}) {
			count[c.level]++
			last[c.level] = c.message
		}
		for _, level := range []string{"error", "warning"} {
			if count[level] != 10 || want != "" && last[level] != want || want == "" && strings.Contains(last[level], "see the step summary") {
				t.Errorf("%d needs: %d annotations of level %s, the last %q", n, count[level], level, last[level])
			}
		}
	}
}

func TestUnknownComesLast(t *testing.T) {
	got := annotate(t, many(), Options{})
	for _, c := range got {
		if strings.Contains(c.message, "[unknown]") {
			t.Errorf("an unknown displaces a conflict: %v", c)
		}
	}
}

func TestAnnotationIsNotTooLong(t *testing.T) {
	var all []check.Result
	for range 20 { // one need, as far as annotations go
		r := results()["in-use"]
		r.Message = strings.Repeat("é", 5000)
		all = append(all, r)
	}
	got := annotate(t, reportOf(all...), Options{})
	if n := utf8.RuneCountInString(got[0].message); len(got) != 1 || n != 4096 || !strings.HasSuffix(got[0].message, "é...") {
		t.Errorf("%d annotations, %d characters", len(got), n)
	}
	exact := []string{strings.Repeat("é", 4000), strings.Repeat("é", 95)}
	if got := joinLines(exact); got != exact[0]+"\n"+exact[1] {
		t.Errorf("4096 characters were cut to %d", utf8.RuneCountInString(got))
	}
}
