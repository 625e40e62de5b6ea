package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// Part is a report to merge, and the file that it comes from.
type Part struct {
	File string
	Report
}

// Rename renames the part's only target, in its results as well.
func (p *Part) Rename(target string) error {
	if len(p.Targets) > 1 {
		return fmt.Errorf("the report has %d targets, but %s= can name only one: leave out %s=", len(p.Targets), target, target)
	}
	p.Targets, p.Results = slices.Clone(p.Targets), slices.Clone(p.Results)
	for i := range p.Targets {
		p.Targets[i].Name = target
	}
	for i := range p.Results {
		r := &p.Results[i]
		r.ID = fmt.Sprintf("%s@%s/%s", r.label(), target, r.Protocol)
		r.Target = target
	}
	return nil
}

// label returns the need's part of the result's ID: APP/NAME, or NAME alone.
func (r Result) label() string {
	return strings.TrimSuffix(r.ID, "@"+r.Target+"/"+string(r.Protocol))
}

// Merge takes the parts over, so that no result is in memory twice, and returns the
// report that one run over the targets of all parts would give:
// targets in the order of the parts, results by need, then by target, each
// need with the alternatives that it can move to on all of its targets. If the
// parts contradict each other, or are too many, it returns only problems. The error
// is the context's.
func Merge(ctx context.Context, parts []Part, tool string, alternatives int) (Report, []config.Problem, error) {
	if found := tooMuch(parts); found != nil {
		return Report{}, []config.Problem{*found}, nil
	}
	merged := Report{Version: 1, Tool: tool, Problems: problemsOf(parts)}
	if n := len(merged.Problems); n > MostProblems {
		return Report{}, []config.Problem{{Message: fmt.Sprintf("the reports have %d different problems, and a merge has at most %d: merge fewer reports", n, MostProblems)}}, nil
	}
	var clashes, same []config.Problem
	merged.Targets, clashes = targetsOf(parts)
	merged.Results, same = resultsOf(parts)
	if clashes = append(clashes, same...); len(clashes) > 0 {
		return Report{}, clashes, nil
	}
	merged.arrange()
	merged.realign(ctx, alternatives)
	if ctx.Err() != nil {
		return Report{}, nil, context.Cause(ctx)
	}
	merged.Finish()
	return merged, nil, nil
}

// Limits of a report. A fleet of 1,000 hosts with 30 ports each stays below
// them.
const (
	MostTargets = 4096
	MostResults = 1 << 15
	// A run lists 1,000 problems of its manifests and 1,000 of its flags.
	MostProblems = 1 << 12
)

// tooMuch returns a problem for the first part with which the parts have more than
// a merged report may have.
func tooMuch(parts []Part) *config.Problem {
	targets, results := 0, 0
	for _, p := range parts {
		targets += len(p.Targets)
		results += len(p.Results)
		var found config.Problem
		switch {
		case targets > MostTargets:
			found = clash(p.File, "with this report there are more than %d targets, the limit of a merge: merge fewer reports", MostTargets)
		case results > MostResults:
			found = clash(p.File, "with this report there are more than %d results, the limit of a merge: merge fewer reports", MostResults)
		default:
			continue
		}
		return &found
	}
	return nil
}

// problemsOf returns the problems of all parts. A problem of one manifest that
// several hosts report is listed once.
func problemsOf(parts []Part) []config.Problem {
	all := []config.Problem{}
	seen := map[config.Problem]bool{}
	for _, p := range parts {
		for _, problem := range p.Problems {
			if !seen[problem] {
				seen[problem] = true
				all = append(all, problem)
			}
		}
	}
	return all
}

// targetsOf returns each target once. A target of several parts, as of several
// manifests, must be the same in all of them.
func targetsOf(parts []Part) ([]TargetReport, []config.Problem) {
	all := []TargetReport{}
	var clashes []config.Problem
	type origin struct {
		file  string
		index int
	}
	seen := map[string]origin{}
	for _, p := range parts {
		for _, t := range p.Targets {
			first, known := seen[t.Name]
			switch {
			case !known:
				seen[t.Name] = origin{p.File, len(all)}
				all = append(all, t)
			case !t.equal(all[first.index]):
				clashes = append(clashes, clash(p.File, "target %q differs from the one in %s: give the target of each report a name of its own, as in app1=%s", t.Name, first.file, p.File))
			}
		}
	}
	return all, clashes
}

func (t TargetReport) equal(o TargetReport) bool {
	return t.Name == o.Name && t.OS == o.OS && t.Namespace == o.Namespace && t.Ephemeral == o.Ephemeral && t.Reserved == o.Reserved && slices.Equal(t.Notices, o.Notices)
}

func resultsOf(parts []Part) ([]Result, []config.Problem) {
	count := 0
	for _, p := range parts {
		count += len(p.Results)
	}
	all := make([]Result, 0, count)
	var clashes []config.Problem
	files := map[string]string{}
	for i, p := range parts {
		parts[i].Results = nil
		repeated := 0
		for _, r := range p.Results {
			if first, known := files[r.ID]; !known {
				files[r.ID] = p.File
			} else if repeated++; repeated == 1 {
				clashes = append(clashes, clash(p.File, "%s is also in %s: give each report once, and its target a name of its own, as in app1=%s", r.ID, first, p.File))
			}
			all = append(all, r)
		}
	}
	return all, clashes
}

func clash(file, format string, args ...any) config.Problem {
	return config.Problem{Position: config.Position{File: file}, Message: fmt.Sprintf(format, args...)}
}

// entry returns the manifest's entry that a result is about.
func (r Result) entry() entry { return entry{at: r.Source, name: r.label()} }

// arrange sorts the results by manifest, in the order in which they appear, then
// by need, in the manifest's order, then by target. Needs of --port have no line:
// they keep the order in which they appear.
func (r *Report) arrange() {
	files, entries, targets := map[string]int{}, map[entry]int{}, map[string]int{}
	for i, t := range r.Targets {
		targets[t.Name] = i
	}
	for _, x := range r.Results {
		if _, known := files[x.Source.File]; !known {
			files[x.Source.File] = len(files)
		}
		if _, known := entries[x.entry()]; !known {
			entries[x.entry()] = len(entries)
		}
	}
	slices.SortStableFunc(r.Results, func(a, b Result) int {
		return cmp.Or(
			cmp.Compare(files[a.Source.File], files[b.Source.File]),
			cmp.Compare(a.Source.Line, b.Source.Line),
			cmp.Compare(a.Source.Column, b.Source.Column),
			cmp.Compare(entries[a.entry()], entries[b.entry()]),
			cmp.Compare(targets[a.Target], targets[b.Target]),
		)
	})
}

// realign replaces the alternatives that each target found for itself by those
// that all targets of a need have in common, chosen as suggest chooses them.
func (r *Report) realign(ctx context.Context, wanted int) {
	t := tables{ephemeral: map[string]*port.Bits{}, claims: claims{}}
	for _, target := range r.Targets {
		t.ephemeral[target.Name] = target.EphemeralPorts()
	}
	for _, x := range r.Results {
		if !x.Expect.Connects() && (!x.Auto || x.OK) {
			t.claims.add(x.Target, x.Protocol, x.Ports())
		}
	}
	found := map[entry]*common{}
	var choices []*choice
	for group := range groups(r.Results, Result.entry) {
		if ctx.Err() != nil {
			return
		}
		if slices.ContainsFunc(group, func(x Result) bool { return movable(&x) }) {
			c := t.common(group, wanted)
			found[group[0].entry()] = c
			choices = append(choices, c.choice)
		}
	}
	for a := newAllocation(choices); a.draw(ctx); { // the targets have bound all of them
		a.keep()
	}
	for i := range r.Results {
		x := &r.Results[i]
		x.Candidates, x.Alternatives = "", []uint16{}
		if !movable(x) {
			continue
		}
		c := found[x.entry()]
		x.Alternatives = append(x.Alternatives, c.chosen...)
		x.Notices = slices.DeleteFunc(slices.Clone(x.Notices), isOnlyEphemeral)
		if !c.allowed && c.hasEphemeral() {
			x.Notices = append(x.Notices, Notice{Code: config.Ephemeral, Message: onlyEphemeral})
		}
	}
}

func isOnlyEphemeral(n Notice) bool {
	return n.Code == config.Ephemeral && n.Message == onlyEphemeral
}

// groups yields the runs of consecutive results with the same key.
func groups[K comparable](results []Result, key func(Result) K) func(yield func([]Result) bool) {
	return func(yield func([]Result) bool) {
		for len(results) > 0 {
			k := key(results[0])
			n := 1
			for n < len(results) && key(results[n]) == k {
				n++
			}
			if !yield(results[:n]) {
				return
			}
			results = results[n:]
		}
	}
}

// tables are the sets of ports that a merged report's choices depend on.
type tables struct {
	ephemeral map[string]*port.Bits // by target
	claims    claims
}

// common is the choice of a need among what all of its targets offer.
type common struct {
	*choice
	allowed bool // the need allows ephemeral alternatives
}

// common prepares the choice for one need from what all of its targets offer, in
// the order of the first, less what the needs of the reports declare.
func (t tables) common(need []Result, wanted int) *common {
	p := pool{length: need[0].Ports().Len()}
	for _, x := range need {
		if x.Protocol == port.TCP {
			p.unsafe = unsafeFor(x.Ports(), []port.Protocol{x.Protocol})
		}
	}
	allowed := false
	for results := range groups(need, func(r Result) string { return r.Target }) {
		target := results[0].Target
		offer := offered(results)
		switch {
		case len(p.ephemeral) == 0: // the first target
			p.starts = offer
		case p.only == nil:
			p.only = new(port.Bits)
			p.only.AddSet(offer)
		default:
			var bits port.Bits
			bits.AddSet(offer)
			p.only.Keep(&bits)
		}
		ephemeral := t.ephemeral[target]
		p.ephemeral = append(p.ephemeral, ephemeral)
		allowed = allowed || allowsEphemeral(results, ephemeral)
		for _, x := range results {
			if claimed := t.claims[claimKey{target, x.Protocol}]; claimed != nil {
				p.claimed = append(p.claimed, claimed)
			}
		}
	}
	return &common{newChoice(p, wanted), allowed}
}

// offered returns the ports that a need can have on one target. All of its
// results there are of one app, which moves as a whole.
func offered(results []Result) port.Set {
	var listed port.Set
	for _, r := range results {
		if candidates, err := port.ParseSet(r.Candidates); err == nil {
			return candidates
		}
		if len(listed) == 0 {
			listed = setOf(r.Alternatives)
		}
	}
	return listed
}

// allowsEphemeral reports whether a target offers ephemeral alternatives without
// the notice on them: then the need allows them, for which reports have no field.
func allowsEphemeral(results []Result, ephemeral *port.Bits) bool {
	return slices.ContainsFunc(results, func(x Result) bool {
		p := pool{length: x.Ports().Len(), ephemeral: []*port.Bits{ephemeral}}
		return slices.ContainsFunc(x.Alternatives, p.isEphemeral) && !slices.ContainsFunc(x.Notices, isOnlyEphemeral)
	})
}
