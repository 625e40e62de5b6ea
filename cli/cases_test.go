package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/report"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	casesDir  = "testdata/cases"
	wholeCase = "free" // the one case with the parts that withoutAssets removes
)

// withoutAges returns a report that does not say how long ago it is that processes
// started: in a case that is more each day.
func withoutAges(text string) string {
	return regexp.MustCompile(`( UTC) \(\d+ days\)`).ReplaceAllString(text, "$1 (DAYS)")
}

// TestCases runs each case from its manifests to every format. A case is a
// directory with manifests, facts.json with the answers of each target, one per
// round, and want.FORMAT.exit-CODE. Cases named lint-… are for lint, which probes
// no target. A case without facts must not probe one either.
func TestCases(t *testing.T) {
	for _, name := range caseNames(t) {
		t.Run(name, func(t *testing.T) {
			t.Chdir(filepath.Join(casesDir, name))
			r, v := runCase(t, name)
			here, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			code := exitCode(r, v, nil)
			got := map[string]string{}
			for _, format := range report.Names() {
				var b bytes.Buffer
				if err := report.Formats[format](&b, r, report.Options{Root: here, Dir: here}); err != nil {
					t.Fatalf("%s: %v", format, err)
				}
				text := b.String()
				if name != wholeCase {
					text = withoutAssets(text)
				}
				got[fmt.Sprintf("want.%s.exit-%d", format, code)] = withoutAges(text)
			}
			old := glob(t, "want.*")
			if *update && !t.Failed() {
				for _, file := range old {
					if err := os.Remove(file); err != nil {
						t.Fatal(err)
					}
				}
				for file, text := range got {
					if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				return
			}
			for file, text := range got {
				want, err := os.ReadFile(file)
				if err != nil {
					t.Errorf("%v (-update writes it)", err)
				} else if diff := cmp.Diff(string(want), text); diff != "" {
					t.Errorf("%s (-want +got, -update accepts it):\n%s", file, diff)
				}
			}
			for _, file := range old {
				if _, ok := got[file]; !ok {
					t.Errorf("%s: it exits with %d, or there is no such format (-update removes it)", file, code)
				}
			}
		})
	}
}

// TestCasesShowEverything checks that the golden files contain every status, notice
// and exit code, so that people can review what users see.
func TestCasesShowEverything(t *testing.T) {
	never := map[check.Status]string{
		check.Leased:     "nothing makes leases yet",
		check.Undeclared: "a run finds these, with --undeclared: TestScripts",
	}
	var all strings.Builder
	codes := map[string]bool{}
	for _, file := range glob(t, filepath.Join(casesDir, "*", "want.json.exit-*")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
		codes[strings.TrimPrefix(filepath.Ext(file), ".exit-")] = true
	}
	for _, s := range check.Statuses {
		reason, excused := never[s]
		switch shown := strings.Contains(all.String(), fmt.Sprintf(`"status": %q`, s)); {
		case !shown && !excused:
			t.Errorf("no case shows status %s", s)
		case shown && excused:
			t.Errorf("a case shows status %s, which is listed as: %s", s, reason)
		}
	}
	for _, n := range config.NoticeCodes {
		if !strings.Contains(all.String(), fmt.Sprintf(`"code": %q`, n)) {
			t.Errorf("no case shows notice %s", n)
		}
	}
	for _, code := range []string{"0", "1", "2", "3"} {
		if !codes[code] {
			t.Errorf("no case exits with %s", code)
		}
	}
}

func caseNames(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(casesDir)
	if err != nil || len(entries) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// runCase runs the command on the manifests of the current directory.
func runCase(t *testing.T, name string) (check.Report, verdictOptions) {
	t.Helper()
	const tool = "portcheck v0.1.0"
	lint := strings.HasPrefix(name, "lint-")
	v := verdictOptions{failOn: "error"}
	if lint {
		v.failOn = "warning"
	}
	a := &app{stdin: strings.NewReader("")}
	needs, specs, problems, err := a.readNeeds(t.Context(), glob(t, "*.yml"), needOptions{}, "local")
	switch {
	case err != nil:
		t.Fatal(err)
	case len(problems) > 0:
		return check.Report{Version: 1, Tool: tool, Problems: problems, Lint: lint}, v
	case lint:
		r, err := check.Lint(t.Context(), needs, tool)
		if err != nil {
			t.Fatal(err)
		}
		return r, v
	}
	answers := readFacts(t)
	var targets []check.Target
	for _, s := range specs {
		h := &replay{t: t, name: s.name, rounds: answers[s.name]}
		delete(answers, s.name)
		targets = append(targets, check.Target{Name: s.name, Open: func(context.Context) (host.Host, error) { return h, nil }})
		defer h.end()
	}
	for name := range answers {
		t.Errorf("facts.json: target %s is never probed", name)
	}
	r, err := check.Run(context.Background(), needs, targets, check.Options{Tool: tool, Alternatives: 3})
	if err != nil {
		t.Fatal(err)
	}
	return r, v
}

func readFacts(t *testing.T) map[string][]host.Facts {
	t.Helper()
	f, err := os.Open("facts.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var answers map[string][]host.Facts
	decoder := json.NewDecoder(f)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&answers); err != nil {
		t.Fatalf("facts.json: %v", err)
	}
	return answers
}

// replay is a host that returns recorded facts, each once and in order.
type replay struct {
	t      *testing.T
	name   string
	rounds []host.Facts
	asked  int
}

func (h *replay) Probe(_ context.Context, req host.Request) (host.Facts, error) {
	h.t.Helper()
	h.asked++
	if h.asked > len(h.rounds) {
		h.t.Errorf("%s: asked %d times, facts.json has %d answers: %+v", h.name, h.asked, len(h.rounds), req)
		return host.Facts{}, fmt.Errorf("no answer %d", h.asked)
	}
	f := h.rounds[h.asked-1]
	if err := answers(f, req); err != nil {
		h.t.Errorf("%s: answer %d does not fit its request: %v", h.name, h.asked, err)
	}
	return f, nil
}

func (h *replay) Close() error { return nil }

func (h *replay) end() {
	if h.asked < len(h.rounds) {
		h.t.Errorf("%s: asked %d times, facts.json has %d answers", h.name, h.asked, len(h.rounds))
	}
}

// answers returns an error if facts can't be the answer to a request.
func answers(f host.Facts, req host.Request) error {
	if len(f.Tried) != len(req.Tries) || len(f.Open) != len(req.Scans) || len(f.Dialed) != len(req.Dials) {
		return fmt.Errorf("%d tries, %d scans and %d dials have %d, %d and %d answers",
			len(req.Tries), len(req.Scans), len(req.Dials), len(f.Tried), len(f.Open), len(f.Dialed))
	}
	for i, try := range req.Tries {
		attempts := f.Tried[i].Attempts
		for p := int(try.Ports.First); p <= int(try.Ports.Last); p++ {
			for _, e := range try.At(uint16(p)) {
				if len(attempts) == 0 || attempts[0].Endpoint != e {
					return fmt.Errorf("try %d: no attempt at %s: %+v", i, e, attempts)
				}
				standIn := attempts[0].Outcome == host.NoFamily && e.Addr.IsUnspecified() && !e.V6Only
				if attempts = attempts[1:]; standIn && len(attempts) > 0 && attempts[0].Addr.Is4() {
					attempts = attempts[1:]
				}
			}
		}
		if len(attempts) > 0 {
			return fmt.Errorf("try %d: no request for %+v", i, attempts)
		}
	}
	for i, scan := range req.Scans {
		for p := range f.Open[i].All {
			if !scan.Ports.Contains(p) {
				return fmt.Errorf("scan %d: %d is not in %s", i, p, scan.Ports)
			}
		}
	}
	for i, dial := range req.Dials {
		if f.Dialed[i].Port != dial.Port {
			return fmt.Errorf("dial %d: port %d, want %d", i, f.Dialed[i].Port, dial.Port)
		}
	}
	for _, s := range f.Sockets {
		if !slices.ContainsFunc(f.Tried, func(tried host.Tried) bool {
			behind := slices.ContainsFunc(tried.Routes, func(r host.Route) bool {
				return slices.ContainsFunc(r.To, func(to host.Destination) bool { return len(to.Overlapping(s.Protocol, s.Port, []host.Socket{s})) > 0 })
			})
			return behind || slices.ContainsFunc(tried.Attempts, func(a host.Attempt) bool { return s.Overlaps(a.Endpoint) })
		}) {
			return fmt.Errorf("socket %s overlaps nothing that was tried", s.Endpoint)
		}
	}
	return nil
}

// withoutAssets removes what is the same in all reports: the style and script of
// the page, and SARIF's list of rules.
func withoutAssets(text string) string {
	for _, asset := range [][2]string{{"<style>", "</style>"}, {"<script>", "</script>"}, {`"rules": [`, "\n          ]"}} {
		before, rest, found := strings.Cut(text, asset[0])
		if _, after, ended := strings.Cut(rest, asset[1]); found && ended {
			text = before + asset[0] + asset[1] + after
		}
	}
	return text
}
