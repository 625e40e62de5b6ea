package report

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/org/portcheck/check"
)

// recognisers find commands in a line of a log as the systems of logCommands do.
// Each was written from the source that its rows name. It returns what it takes for
// a command, empty if there is none.
var recognisers = func() map[string]func(line string) string {
	azure := find(`(?i)##vso|^##\[[a-z]+\]`)
	return map[string]func(line string) string{
		"GitHub Actions, Gitea, Forgejo": func(line string) string {
			if c, ok := runnerCommand(line); ok {
				return c.name
			}
			return ""
		},
		// TryParse of Command.cs: the first ##vso[ up to ], an area and an event divided
		// by a dot. IndexOf without a comparison goes by the rules of a language, by which
		// marks of no width are ignored. TryProcessCommand of WorkerCommandManager.cs warns
		// of ##vso alone. Formats: https://learn.microsoft.com/en-us/azure/devops/pipelines/scripts/logging-commands
		"Azure Pipelines": func(line string) string {
			visible := strings.Map(func(r rune) rune {
				if unicode.Is(unicode.M, r) || r == 0x3164 {
					return -1
				}
				return r
			}, line)
			return azure(visible)
		},
		// ServiceMessageParser.cs of JetBrains/TeamCity.ServiceMessages, and the page.
		"TeamCity":                               find(`##teamcity\[[^\s]+`),
		"Octopus Deploy":                         find(`##octopus\[[^\s]+`),
		"Continua CI":                            find(`@@continua\[[^\s]+`),
		"Jenkins":                                find(`\x1b\[8mha:`),
		"Drone, Harness":                         find(`\x1b\]1338;`),
		"GitLab, Jenkins with junit-attachments": nil, // in JUnit's XML: see attachments
		// logs_section_prefix_regex and the two after it, in lib/gitlab/regex.rb.
		"GitLab":    find(`section_(start|end):(\d+):([a-zA-Z0-9_.-]+)(\[(\w+=\w+)(, ?(\w+=\w+))*\])?\r\x1b\[0K`),
		"Buildkite": find(`\x1b\](1338|1339);|\x1b_bk;`), // groups only fold
		"Travis CI": nil,                                 // only folds
	}
}()

func find(expression string) func(string) string {
	re := regexp.MustCompile(expression)
	return re.FindString
}

// attacks are complete commands, by the start of a row of logCommands.
var attacks = map[string][]string{
	"`::command::` at the start of a line, after blanks":    {"::add-mask::80", "  ::stop-commands::x", ":\ufe0f:error::x"},
	"`##[command]` anywhere in a line":                      {"##[add-mask]80", "###[group]x", "##[add-path]/tmp"},
	"`##vso[area.command]` anywhere in a line":              {"##vso[task.setvariable variable=PATH]/tmp", "##VSO[Task.Complete result=Succeeded]", "#\ufe0f#vso[task.x]", "#\u0301\u3164#vso[task.x]y", "####vso[task.x]y", "##vso"},
	"`##[format]` at the start of a line":                   {"##[section]x", "##[error]x"},
	"`##teamcity[message` anywhere in a line":               {"##teamcity[setParameter name='env.PATH' value='/tmp']", "##teamcity[buildStop comment='' readdToQueue='true']"},
	"`##octopus[message` anywhere in a line":                {"##octopus[setVariable name='eA==' value='eQ==']"},
	"`@@continua[message`":                                  {"@@continua[setVariable name='x' value='y']"},
	"`[[ATTACHMENT` in JUnit's XML":                         {"[[ATTACHMENT|/etc/passwd]]", "[ATTACHMENT|a:b]]"},
	"`ESC[8mha:`":                                           {"\x1b[8mha:AAAA\x1b[0m", "\x1b[8m\x1b[8mha:////4A\x1b[0m"},
	"`ESC]1338;`":                                           {"\x1b]1338;e30=\x1b]0m"},
	"`ESC]1338;`, `ESC]1339;`, `ESC_bk;`":                   {"\x1b]1339;url=https://example.com;content=x\a", "\x1b_bk;t=1\a"},
	"`section_start:` and `section_end:` up to `CR ESC[0K`": {"section_start:1:x\r\x1b[0K", "section_end:1:x[collapsed=true]\r\x1b[0K"},
	"`travis_fold:`, `travis_time:`":                        {"travis_fold:start:x\r\x1b[0K", "travis_time:start:0\r\x1b[0K"},
	"`---`, `+++`, `~~~`, `^^^` at the start of a line":     {"--- x", "^^^ +++"},
}

func allAttacks() []string {
	var all []string
	for _, c := range logCommands {
		all = append(all, attacks[c.start]...)
	}
	return all
}

// recognised returns a command that a system finds in a line, and the system.
func recognised(line string) (system, command string) {
	for _, c := range logCommands {
		if f := recognisers[c.system]; f != nil {
			if found := f(line); found != "" {
				return c.system, found
			}
		}
	}
	return "", ""
}

func TestEachLogCommandHasAnAttackAndARecogniser(t *testing.T) {
	for _, c := range logCommands {
		if len(attacks[c.start]) == 0 {
			t.Errorf("%s: no attack for %s", c.system, c.start)
		}
		if _, ok := recognisers[c.system]; !ok {
			t.Errorf("%s: no recogniser", c.system)
		}
		if c.inert == broken != (c.doubled != 0) || !strings.HasPrefix(c.source, "https://") {
			t.Errorf("%s: %+v", c.start, c)
		}
		// The first attack is found as it is, else the recogniser proves nothing.
		first := attacks[c.start][0]
		if _, found := recognised(first); found == "" && (c.doubled != 0 || c.inert == controls) {
			t.Errorf("no system recognises %q", first)
		}
	}
	for line, want := range map[string]string{
		"x ##vso[task.setvariable variable=a]b": "Azure Pipelines", "x##VSO": "Azure Pipelines", "##[error]x": "GitHub Actions, Gitea, Forgejo",
		"a ##teamcity[x 'y']": "TeamCity", "# #teamcity[x]": "", "##teamcity": "", `#\x23vso[task.x]`: "", "## vso[": "",
	} {
		if system, _ := recognised(line); system != want {
			t.Errorf("%q is a command of %q, want %q", line, system, want)
		}
	}
}

// attachments returns the files that GitLab and Jenkins would attach to the tests of
// a report in JUnit's format.
func attachments(t *testing.T, doc string) []string {
	t.Helper()
	var texts strings.Builder
	for d := xml.NewDecoder(strings.NewReader(doc)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := token.(xml.CharData); ok {
			texts.Write(text)
		}
	}
	return regexp.MustCompile(`\[\[ATTACHMENT\|.+\]\]`).FindAllString(texts.String(), -1)
}

// fillInTurn puts the texts into the strings of a report in turn, beginning with the
// one at start.
func fillInTurn(texts []string, start int) check.Report {
	r := filled("\x00")
	next := start
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			if v.String() == "\x00" {
				v.SetString(texts[next%len(texts)])
				next++
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Field(i).CanSet() {
					walk(v.Field(i))
				}
			}
		}
	}
	walk(reflect.ValueOf(&r).Elem())
	return r
}

// checkEverywhere writes reports with texts in every field and fails the test if a
// system takes a part of one for a command.
func checkEverywhere(t *testing.T, texts ...string) {
	t.Helper()
	for start := range texts {
		r := fillInTurn(texts, start)
		for _, status := range []check.Status{r.Results[0].Status, check.InUse} {
			for i := range r.Results {
				r.Results[i].Status = status
			}
			outputs := inAllFormats(t, r, Options{Root: "/repo"})
			for _, width := range []int{40, 43, 46, 80} {
				outputs["text "+strconv.Itoa(width)] = onTerminalOf(t, r, Options{Width: width})
			}
			for format, out := range outputs {
				checkInert(t, format, out)
			}
			if found := attachments(t, outputs["junit"]); len(found) > 0 {
				t.Errorf("%q: junit attaches %q", texts, found)
			}
		}
		if t.Failed() {
			t.Fatalf("the texts were %q", texts)
		}
	}
}

func TestLogCommandsAreInertInEveryField(t *testing.T) {
	t.Parallel()
	for _, attack := range allAttacks() {
		for _, before := range []string{"", "x ", "#", "x\n"} {
			checkEverywhere(t, before+attack)
		}
	}
}

// TestLogCommandsAreInertAcrossFields cuts each command in two: what comes before and
// after the cut is in different fields, or in the text of portcheck itself.
func TestLogCommandsAreInertAcrossFields(t *testing.T) {
	t.Parallel()
	for _, c := range logCommands {
		if c.inert == controls || c.inert == folds {
			continue
		}
		attack := []rune(attacks[c.start][0])
		for at := 1; at < min(len(attack), 8); at++ {
			checkEverywhere(t, string(attack[:at]), string(attack[at:]))
		}
	}
	for _, end := range []string{"#", "##", "@", "@@", ":", "[", "[["} {
		checkEverywhere(t, "x"+end, end)
	}
}

// A command that is cut at the end of a line of a terminal, or moved to its start,
// stays inert: each attack at each column.
func TestLogCommandsAreInertWhereLinesAreBroken(t *testing.T) {
	t.Parallel()
	for _, attack := range allAttacks() {
		for n := range 80 {
			for _, line := range Wrap(Safe(strings.Repeat("x", n)+" "+attack), 40) {
				if system, found := recognised(line); found != "" {
					t.Errorf("%q after %d characters: the command %q of %s in %q", attack, n, found, system, line)
				}
			}
			for _, line := range Wrap(Safe(strings.Repeat("x", n)+attack), 40) {
				if system, found := recognised(line); found != "" {
					t.Errorf("%q right after %d characters: the command %q of %s in %q", attack, n, found, system, line)
				}
			}
			if system, found := recognised(Fit(Safe(strings.Repeat("x", n)+attack), 40)); found != "" {
				t.Errorf("%q: Fit leaves the command %q of %s", attack, found, system)
			}
		}
	}
}

// Each doubled character is broken up wherever it is, and only then: the text stays
// readable.
func TestWhatIsBrokenUp(t *testing.T) {
	for in, want := range map[string]string{
		"##vso[task.x]": `#\x23vso[task.x]`, "##": `#\x23`, "####": `#\x23#\x23`, "# # a#b #": "# # a#b #",
		"@@continua[": `@\x40continua[`, "a@b": "a@b",
		"#\ufe0f#vso[": "#\ufe0f" + `\x23vso[`, "\ufe0f::error::": "\ufe0f:" + `\x3aerror::`,
		"#\u0640#vso[": "#\u0640" + `\x23vso[`, "\u180a::error::": "\u180a:" + `\x3aerror::`,
		"#\ufe0f⃣ 1": "#\ufe0f⃣ 1", "a::b": "a::b",
	} {
		if got := Safe(in); got != want {
			t.Errorf("Safe(%q) = %q, want %q", in, got, want)
		}
	}
}

// JSON is broken up without changing it.
func TestLogCommandsComeBackFromJSON(t *testing.T) {
	for _, s := range allAttacks() {
		checkRoundTrip(t, s)
		checkRoundTrip(t, "x"+s+"##@@")
	}
}

func TestDocsListLogCommands(t *testing.T) {
	page, err := os.ReadFile("../docs/reports.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(page), "\n")
	for _, c := range logCommands {
		if row := "| [" + c.system + "](" + c.source + ") | " + c.start + " | " + c.effect + " | " + c.inert + " |"; !slices.Contains(lines, row) {
			t.Errorf("docs/reports.md lacks the row\n%s", row)
		}
	}
}
