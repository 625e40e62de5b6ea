package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// targetSpec is a target to open.
type targetSpec struct {
	name, spec string
	at         config.Position // of the manifest entry or flag that names it
	auto       bool            // spec was chosen for the target auto
	found      bool            // at is in a manifest that was found, and not named
}

// connects reports whether opening the target connects to a machine or joins a
// container that its text names.
func (s targetSpec) connects() bool {
	parsed, err := config.ParseTarget(s.spec)
	return err == nil && parsed.KindOf().Connects
}

func (s targetSpec) problem(err error) config.Problem {
	return config.Problem{Position: s.at, Message: err.Error()}
}

// targetFlags are the --target flags.
type targetFlags struct {
	all    []targetSpec      // TARGET: they replace every target of the manifests
	byName map[string]string // NAME=TARGET: each replaces the target of its name
	used   map[string]bool   // the names of byName that have replaced a target
	auto   string            // the target that auto stands for
}

// targetFlag is the position of targets that a --target flag names.
var targetFlag = config.Position{File: "--target"}

func parseTargetFlags(flags []string, auto string) (targetFlags, []config.Problem) {
	t := targetFlags{byName: map[string]string{}, used: map[string]bool{}, auto: auto}
	var problems []config.Problem
	for _, f := range flags {
		name, spec, named := strings.Cut(f, "=")
		if named = named && isTargetName(name); !named {
			spec = f
		}
		err := checkTarget(spec)
		if named && spec == "" {
			err = fmt.Errorf("%q: the target after = is missing: want NAME=TARGET, where TARGET is %s", f, config.TargetSyntax())
		}
		if err != nil {
			problems = append(problems, config.Problem{Position: targetFlag, Message: err.Error()})
		}
		if named {
			t.byName[name] = spec
			continue
		}
		s := t.newSpec("", spec, targetFlag)
		if !slices.ContainsFunc(t.all, func(o targetSpec) bool { return o.spec == s.spec }) {
			t.all = append(t.all, s)
		}
	}
	return t, problems
}

// checkTarget returns an error for a text that is no target.
func checkTarget(text string) error {
	_, err := config.ParseTarget(text)
	if err == nil {
		return nil
	}
	for _, one := range strings.FieldsFunc(text, isListSign) {
		if _, bad := config.ParseTarget(one); bad != nil {
			return err
		}
	}
	if hint := onceForEach("-t", text); hint != "" {
		return fmt.Errorf("%q: want one target; %s", text, hint)
	}
	return err
}

func isTargetName(s string) bool {
	return s != "" && !strings.ContainsAny(s, ":/@")
}

// newSpec returns a target. If name is empty, its spec is its name.
func (t targetFlags) newSpec(name, spec string, at config.Position) targetSpec {
	auto := spec == "auto"
	if auto {
		spec = t.auto
	}
	if name == "" {
		name = spec
	}
	return targetSpec{name: name, spec: spec, at: at, auto: auto}
}

// replace returns the target that a flag gives for the name of s, or s.
func (t targetFlags) replace(s targetSpec) targetSpec {
	if spec, ok := t.byName[s.name]; ok {
		t.used[s.name] = true
		return t.newSpec(s.name, spec, targetFlag)
	}
	return s
}

// unused returns a problem for each flag that has replaced no target.
func (t targetFlags) unused() []config.Problem {
	var problems []config.Problem
	for _, name := range slices.Sorted(maps.Keys(t.byName)) {
		switch {
		case t.used[name]:
		case len(t.all) > 0:
			problems = append(problems, config.Problem{Position: targetFlag, Message: fmt.Sprintf("%s=%s has no effect: a --target without a name replaces all targets", name, t.byName[name])})
		default:
			problems = append(problems, config.Problem{Position: targetFlag, Message: fmt.Sprintf("%s=%s: no manifest has a target of that name; without the name and = it is the target of every need", name, t.byName[name])})
		}
	}
	return problems
}

// expand returns a need for each port entry on each of its targets, and the
// targets.
func expand(manifests []config.Manifest, flags targetFlags) ([]check.Need, []targetSpec, []config.Problem) {
	ports := 0
	for _, m := range manifests {
		ports += len(m.Ports)
	}
	needs := make([]check.Need, 0, ports) // more if an entry has several targets
	var specs []targetSpec
	var problems []config.Problem
	ids, index, reported := map[string]config.Position{}, map[string]int{}, map[config.Problem]bool{}
	total := newTotals()
	for _, m := range manifests {
		for _, p := range m.Ports {
			for _, s := range targetsOf(m, p, flags) {
				s.found = m.Found
				i, known := index[s.name]
				switch {
				case !known:
					index[s.name] = len(specs)
					specs = append(specs, s)
					if exceeded := total.addTarget(s); exceeded != nil {
						return nil, nil, append(problems, *exceeded)
					}
				case specs[i].spec != s.spec:
					p := s.problem(fmt.Errorf("target %q is %s here and %s at %s: give each target a name of its own", s.name, s.spec, specs[i].spec, specs[i].at))
					if !reported[p] {
						reported[p] = true
						problems = append(problems, p)
					}
				default:
					specs[i].auto = specs[i].auto && s.auto
					specs[i].found = specs[i].found && s.found
				}
				n := check.Need{Port: p, App: m.App, Machine: m.Host, Target: s.name}
				if exceeded := total.add(n, len(specs)); exceeded != nil {
					return nil, nil, append(problems, *exceeded)
				}
				for _, proto := range p.Protocols {
					id := n.ID(proto)
					if first, taken := ids[id]; taken {
						problems = append(problems, config.Problem{Position: p.At, Message: fmt.Sprintf("%s is also at %s: give the manifests different app names", id, first)})
					}
					ids[id] = p.At
				}
				needs = append(needs, n)
			}
		}
	}
	return needs, specs, append(problems, flags.unused()...)
}

// targetsOf returns the targets of one entry: those of flags, else its own, else
// the manifest's, else auto.
func targetsOf(m config.Manifest, p config.Port, flags targetFlags) []targetSpec {
	if len(flags.all) > 0 {
		return flags.all
	}
	var declared []targetSpec
	for _, t := range m.Targets {
		declared = append(declared, flags.replace(flags.newSpec(t.Name, t.URL, t.Position)))
	}
	all := declared
	byName := map[string]targetSpec{}
	if len(p.Targets) > 0 {
		all = nil
		for _, d := range declared {
			byName[d.name] = d
		}
	}
	taken := map[string]bool{}
	for _, name := range p.Targets {
		s, known := byName[name]
		if !known {
			s = flags.replace(flags.newSpec("", name, p.At))
		}
		if !taken[s.name] {
			taken[s.name] = true
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return []targetSpec{flags.replace(flags.newSpec("", "auto", config.Position{File: m.File}))}
	}
	return all
}
