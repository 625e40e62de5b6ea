package check

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// apart runs a check of its own on each target. It returns the reports as they are
// read from JSON, without the fields that JSON lacks.
func apart(t *testing.T, needs []Need, o Options, targets []Target) []Part {
	t.Helper()
	var parts []Part
	for _, target := range targets {
		here := slices.DeleteFunc(slices.Clone(needs), func(n Need) bool { return n.Target != target.Name })
		parts = append(parts, Part{target.Name + ".json", asRead(run(t, here, o, target))})
	}
	return parts
}

func asRead(r Report) Report {
	r.Spans = nil
	r.Results = append([]Result{}, r.Results...)
	for i := range r.Results {
		r.Results[i].Asked, r.Results[i].From, r.Results[i].NoSearchReason, r.Results[i].TableErrno = 0, nil, "", ""
	}
	if r.Problems == nil {
		r.Problems = []config.Problem{}
	}
	return r
}

func merge(t *testing.T, parts []Part, alternatives int) Report {
	t.Helper()
	merged, clashes, err := Merge(t.Context(), parts, "", alternatives)
	if len(clashes) > 0 || err != nil {
		t.Fatal(clashes, err)
	}
	return merged
}

// TestMergeEqualsOneRun checks that the merged reports of separate runs on some
// hosts equal the report of one run over all of them.
func TestMergeEqualsOneRun(t *testing.T) {
	var seen struct{ three, fewer, ephemeral, unknown int }
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 0))
		needs, hosts := randomFleet(random)
		targets := func() []Target {
			var all []Target
			for _, h := range hosts {
				copied := h
				target := targetOf(fmt.Sprintf("app%d", len(all)), &copied)
				if copied.limits.UnprivilegedFrom < 0 {
					target = unreachable(target.Name, "no route")
				}
				all = append(all, target)
			}
			return all
		}
		want := asRead(run(t, needs, Options{Alternatives: 3}, targets()...))
		got := merge(t, apart(t, needs, Options{Alternatives: 3, Candidates: 40}, targets()), 3)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d (-one run +merged):\n%s", seed, diff)
		}
		for _, r := range got.Results {
			ephemeral := slices.ContainsFunc(r.Notices, isOnlyEphemeral)
			switch {
			case r.Status == Unknown:
				seen.unknown++
			case ephemeral:
				seen.ephemeral++
			case len(r.Alternatives) == 3:
				seen.three++
			case len(r.Alternatives) > 0:
				seen.fewer++
			}
		}
	}
	if min(seen.three, seen.fewer, seen.ephemeral, seen.unknown) < 100 {
		t.Errorf("want at least 100 results of each kind: %+v", seen)
	}
}

// randomFleet returns three hosts and needs on them. Every port that is open in the
// table can be bound. Otherwise one run and separate runs would find the ports that
// fail in different orders, and suggest different ones.
func randomFleet(random *rand.Rand) ([]Need, []sim) {
	some := func(odds float64) port.Set {
		return port.Set{{First: 9000, Last: 9030}}.Without(func(uint16) bool { return random.Float64() > odds })
	}
	var hosts []sim
	ephemeral := port.Range{}
	if random.IntN(2) == 0 {
		ephemeral = port.Range{First: 9000 + uint16(random.IntN(20)), Last: 9030}
	}
	for range 3 {
		h := sim{taken: append(some(0.4), port.One(8080)), limits: host.Limits{Reserved: some(0.1), Ephemeral: ephemeral}}
		if random.IntN(10) == 0 {
			h.limits.UnprivilegedFrom = -1 // it can't be reached
		}
		hosts = append(hosts, h)
	}
	var needs []Need
	for k := range 1 + random.IntN(4) {
		changes := []func(*Need){func(n *Need) { n.At.Line = 10 * (k + 1) }, inRange([]string{"9000-9030", "9020-9030,9000-9009", "9005-9010", "9000-9002"}[random.IntN(4)])}
		first := []uint16{8080, 9000, 9004, 9010}[random.IntN(4)]
		changes = append(changes, ports(first, first+uint16(random.IntN(3))))
		for _, change := range []func(*Need){udp, tcpAndUDP, listening, on("127.0.0.1"), func(n *Need) { n.Exclude = some(0.2) }} {
			if random.IntN(4) == 0 {
				changes = append(changes, change)
			}
		}
		one := needOf("shop.yml", fmt.Sprintf("n%d", k), changes...)
		for i := range hosts {
			if random.IntN(4) > 0 {
				one.Target = fmt.Sprintf("app%d", i)
				needs = append(needs, one)
			}
		}
	}
	return needs, hosts
}

func TestCandidates(t *testing.T) {
	needs := []Need{
		needOf("a.yml", "taken", inRange("9000-9009"), tcpAndUDP), needOf("a.yml", "met", ports(9000, 9001), inRange("9009,9000-9007")),
		needOf("a.yml", "nowhere", ports(8081, 8081)), needOf("a.yml", "listens", inRange("9000-9009"), listening),
		needOf("a.yml", "ephemeral", ports(8082, 8082), inRange("9006-9009,8999")),
	}
	s := &sim{taken: set(t, "8080,9003"), barred: set(t, "9004"), limits: host.Limits{Ephemeral: port.Range{First: 9007, Last: 9100}}}
	r := run(t, needs, Options{Candidates: 5}, targetOf("local", s))
	var got []string
	for _, x := range r.Results {
		got = append(got, x.Candidates)
		if len(x.Alternatives) > 0 {
			t.Errorf("%s: alternatives %v, want none", x.ID, x.Alternatives)
		}
	}
	want := []string{
		"9002,9005-9008", "9002,9005-9008", // 9000 and 9001 are claimed; the same for both protocols
		"9005-9006", // blocks of two, which may overlap here
		"", "",
		"9006,8999,9007-9009", // the ephemeral ones last
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(s.asked) > 4 {
		t.Errorf("%d probes", len(s.asked))
	}
}

func TestMergeOfReportsWithoutCandidates(t *testing.T) {
	need := func(name, target string) Need { return needOf("a.yml", name, inRange("9000-9009"), onTarget(target)) }
	needs := []Need{need("x", "one"), need("x", "two")}
	for name, c := range map[string]struct {
		one, two string // taken
		want     [][]uint16
	}{
		"what both list":               {"8080", "8080,9001", [][]uint16{{9000, 9002}, {9000, 9002}}},
		"met on one, which lists none": {"8080", "", [][]uint16{{}, {}}},
		"nothing in common":            {"8080,9003-9009", "8080,9000-9002", [][]uint16{{}, {}}},
	} {
		targets := []Target{targetOf("one", &sim{taken: set(t, c.one)}), targetOf("two", &sim{taken: set(t, c.two)})}
		merged := merge(t, apart(t, needs, Options{Alternatives: 3}, targets), 3)
		if diff := cmp.Diff(c.want, alternatives(merged)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	both := []Need{needOf("a.yml", "x", inRange("9000-9009"), tcpAndUDP)}
	both[0].Target = "one"
	parts := apart(t, both, Options{Alternatives: 3}, []Target{targetOf("one", &sim{taken: set(t, "8080")})})
	parts[0].Results[1].OK, parts[0].Results[1].Status, parts[0].Results[1].Alternatives = true, Free, nil
	if got := merge(t, parts, 2).Results; !slices.Equal(got[0].Alternatives, []uint16{9000, 9001}) {
		t.Errorf("alternatives %v, want those of the unmet protocol", got[0].Alternatives)
	}
}

// TestMergeHeedsAllow checks that merge applies a need's allow, for which reports
// have no field.
func TestMergeHeedsAllow(t *testing.T) {
	sims := func() []Target {
		limits := host.Limits{Ephemeral: port.Range{First: 9000, Last: 9009}}
		return []Target{targetOf("one", &sim{taken: set(t, "8080"), limits: limits}), targetOf("two", &sim{taken: set(t, "8080,9000"), limits: limits})}
	}
	for _, codes := range [][]config.NoticeCode{nil, {config.Ephemeral}} {
		need := func(target string) Need {
			return needOf("a.yml", "x", inRange("9000-9009"), onTarget(target), allow(codes...))
		}
		needs := []Need{need("one"), need("two")}
		want := asRead(run(t, needs, Options{Alternatives: 3}, sims()...))
		got := merge(t, apart(t, needs, Options{Alternatives: 3, Candidates: 9}, sims()), 3)
		if diff := cmp.Diff(want, got); diff != "" || len(got.Results[0].Alternatives) != 3 {
			t.Errorf("allow: %v (-one run +merged):\n%s", codes, diff)
		}
	}
}

// TestMergeOfTwoManifestsOnOneHost checks that a port in one manifest is no
// alternative for the other manifest, although their runs were separate.
func TestMergeOfTwoManifestsOnOneHost(t *testing.T) {
	local := func() []Target { return []Target{targetOf("local", &sim{taken: set(t, "8080")})} }
	parts := apart(t, []Need{needOf("a.yml", "x", inRange("9000-9009"))}, Options{Alternatives: 3, Candidates: 9}, local())
	parts = append(parts, apart(t, []Need{needOf("b.yml", "y", ports(9001, 9001))}, Options{Alternatives: 3}, local())...)
	got := merge(t, parts, 3)
	if diff := cmp.Diff([][]uint16{{9000, 9002, 9003}, {}}, alternatives(got)); diff != "" || len(got.Targets) != 1 {
		t.Errorf("%d targets: %s", len(got.Targets), diff)
	}
}

func TestMergeKeepsTheOrderOfTheManifest(t *testing.T) {
	var parts []Part
	for target, names := range []string{"ac", "abc", "bd"} {
		var needs []Need
		for _, name := range names {
			needs = append(needs, needOf("a.yml", string(name), onTarget(fmt.Sprint(target)), func(n *Need) { n.At.Line = int(name) }))
		}
		parts = append(parts, apart(t, needs, Options{}, []Target{targetOf(fmt.Sprint(target), &sim{})})...)
	}
	var got []string
	for _, r := range merge(t, parts, 0).Results {
		got = append(got, r.ID)
	}
	want := []string{"a/a@0/tcp", "a/a@1/tcp", "a/b@1/tcp", "a/b@2/tcp", "a/c@0/tcp", "a/c@1/tcp", "a/d@2/tcp"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Manifests keep the order of the parts. Needs of --port have no line and keep the
// order of the command line.
func TestMergeKeepsTheOrderOfTheParts(t *testing.T) {
	flag := func(name string, number uint16, target string) Need {
		n := needOf("--port", name, ports(number, number), onTarget(target))
		n.App, n.At.Line, n.At.Column = "", 0, 0
		return n
	}
	same := func(name string, column int) Need {
		return needOf("a.yml", name, onTarget("1"), func(n *Need) { n.At.Line, n.At.Column = 3, column })
	}
	parts := apart(t, []Need{
		needOf("b.yml", "x", onTarget("0")), flag("tcp-9", 9, "0"), flag("tcp-7", 7, "0"),
		same("right", 20), same("left", 10), flag("tcp-9", 9, "1"), flag("tcp-7", 7, "1"), needOf("b.yml", "x", onTarget("1")),
	}, Options{}, []Target{targetOf("0", &sim{}), targetOf("1", &sim{})})
	var got []string
	for _, r := range merge(t, parts, 0).Results {
		got = append(got, r.ID)
	}
	want := []string{"b/x@0/tcp", "b/x@1/tcp", "tcp-9@0/tcp", "tcp-9@1/tcp", "tcp-7@0/tcp", "tcp-7@1/tcp", "a/left@1/tcp", "a/right@1/tcp"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The port of a remote is not a port of the target, so it can be an alternative.
func TestMergeLeavesPortsOfRemotes(t *testing.T) {
	needs := []Need{needOf("a.yml", "x", inRange("5432-5433"), onTarget("0")), needOf("a.yml", "db", reachable, onTarget("0"))}
	parts := apart(t, needs, Options{Alternatives: 2, Candidates: 5}, []Target{targetOf("0", &sim{taken: set(t, "8080")})})
	if diff := cmp.Diff([][]uint16{{5432, 5433}, {}}, alternatives(merge(t, parts, 2))); diff != "" {
		t.Error(diff)
	}
}

// Two reports are about the same target if all they have about it is equal.
func TestMergeComparesTargets(t *testing.T) {
	part := func(file string, change func(*TargetReport)) Part {
		r := run(t, []Need{needOf(file+".yml", "x")}, Options{}, targetOf("local", &sim{}))
		change(&r.Targets[0])
		return Part{file + ".json", r}
	}
	for name, change := range map[string]func(*TargetReport){
		"os":        func(r *TargetReport) { r.OS = "darwin" },
		"namespace": func(r *TargetReport) { r.Namespace.Inode++ },
		"ephemeral": func(r *TargetReport) { r.Ephemeral = "1-2" },
		"reserved":  func(r *TargetReport) { r.Reserved = "1-2" },
		"notices":   func(r *TargetReport) { r.Notices = []Notice{{Code: config.Degraded, Message: "x"}} },
	} {
		if _, clashes, _ := Merge(t.Context(), []Part{part("one", func(*TargetReport) {}), part("two", change)}, "", 3); len(clashes) != 1 {
			t.Errorf("%s: %v", name, clashes)
		}
	}
	merged := merge(t, []Part{part("one", func(*TargetReport) {}), part("two", func(*TargetReport) {})}, 3)
	if len(merged.Targets) != 1 || len(merged.Results) != 2 {
		t.Errorf("%+v", merged)
	}
}

func TestMergeRefusesContradictions(t *testing.T) {
	part := func(file, os string) Part {
		r := run(t, []Need{needOf("a.yml", "x"), needOf("a.yml", "y", ports(8081, 8081))}, Options{}, targetOf("local", &sim{}))
		r.Targets[0].OS = os
		return Part{file, r}
	}
	for name, c := range map[string]struct {
		parts   []Part
		clashes int // the first one has the text of want
		want    string
	}{
		"two hosts of one name": {[]Part{part("one.json", "linux"), part("two.json", "darwin")}, 2, `two.json: target "local" differs from the one in one.json: give the target of each report a name of its own, as in app1=two.json`},
		"one report twice":      {[]Part{part("one.json", "linux"), part("two.json", "linux")}, 1, `two.json: a/x@local/tcp is also in one.json: give each report once`},
	} {
		_, clashes, _ := Merge(t.Context(), c.parts, "", 3)
		if len(clashes) != c.clashes || !strings.HasPrefix(clashes[0].Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, clashes, c.want)
		}
	}
	one, two := part("one.json", "linux"), part("two.json", "darwin")
	if err := two.Rename("app2"); err != nil {
		t.Fatal(err)
	}
	merged := merge(t, []Part{one, two}, 3)
	if r := merged.Results[1]; r.ID != "a/x@app2/tcp" || r.Target != "app2" || merged.Targets[1].Name != "app2" || merged.Summary.Checked != 4 {
		t.Errorf("%+v", merged)
	}
	both := Part{"both.json", merged}
	if err := both.Rename("app1"); err == nil || !strings.Contains(err.Error(), "2 targets") {
		t.Errorf("%v", err)
	}
}

func TestMergeConcatenatesProblems(t *testing.T) {
	bad := config.Problem{Position: config.Position{File: "shop.yml", Line: 3, Column: 5}, Message: "unknown key"}
	other := config.Problem{Position: config.Position{File: "pay.yml"}, Message: "no such file"}
	good := run(t, []Need{needOf("a.yml", "x")}, Options{}, targetOf("local", &sim{}))
	merged := merge(t, []Part{{"1.json", Report{Problems: []config.Problem{bad}}}, {"2.json", good}, {"3.json", Report{Problems: []config.Problem{bad, other}}}}, 3)
	if diff := cmp.Diff([]config.Problem{bad, other}, merged.Problems); diff != "" || merged.OK || merged.Summary.OK != 1 {
		t.Errorf("ok %t: %s", merged.OK, diff)
	}
}
