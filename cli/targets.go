package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// targetSpec is a target to open, with the place that asked for it.
type targetSpec struct {
	name, spec string
	from       config.Position
	chosen     bool // by auto: nobody named it
}

func (s targetSpec) same(o targetSpec) bool { return s.name == o.name && s.spec == o.spec }

// connects reports whether opening the target connects to a machine that its
// text names.
func (s targetSpec) connects() bool {
	parsed, err := config.ParseTarget(s.spec)
	return err == nil && parsed.KindOf().Connects
}

func (s targetSpec) problem(err error) config.Problem {
	return config.Problem{Position: s.from, Message: err.Error()}
}

// newTarget names a target that was given no name. auto is what the flags have
// it stand for.
func (t targetFlags) newTarget(spec string, from config.Position) targetSpec {
	return t.target("", spec, from)
}

// target is a target under a name.
func (t targetFlags) target(name, spec string, from config.Position) targetSpec {
	chosen := spec == "auto"
	if chosen {
		spec = t.auto
	}
	if name == "" {
		name = spec
	}
	return targetSpec{name, spec, from, chosen}
}

// targetFlags are the --target flags: all replaces every target of the
// manifests, named ones replace those of the same name.
type targetFlags struct {
	all   []targetSpec
	named map[string]string
	used  map[string]bool // of named
	auto  string          // the target that auto stands for
}

func parseTargets(flags []string, auto string) (targetFlags, []config.Problem) {
	t := targetFlags{named: map[string]string{}, used: map[string]bool{}, auto: auto}
	var problems []config.Problem
	for _, f := range flags {
		name, spec, named := strings.Cut(f, "=")
		if named = named && isTargetName(name); !named {
			spec = f
		}
		if _, err := config.ParseTarget(spec); err != nil {
			problems = append(problems, config.Problem{Position: targetFlag, Message: err.Error()})
		}
		if named {
			t.named[name] = spec
		} else if s := t.newTarget(spec, targetFlag); !slices.ContainsFunc(t.all, s.same) {
			t.all = append(t.all, s)
		}
	}
	return t, problems
}

// targetFlag is where a target was named that no manifest names.
var targetFlag = config.Position{File: "--target"}

func isTargetName(s string) bool {
	return s != "" && !strings.ContainsAny(s, ":/@")
}

// replaced is s, or what a flag puts in its place.
func (t targetFlags) replaced(s targetSpec) targetSpec {
	if spec, ok := t.named[s.name]; ok {
		t.used[s.name] = true
		return t.target(s.name, spec, targetFlag)
	}
	return s
}

// unused are the flags that replace nothing.
func (t targetFlags) unused() []config.Problem {
	var problems []config.Problem
	for _, name := range slices.Sorted(maps.Keys(t.named)) {
		switch {
		case t.used[name]:
		case len(t.all) > 0:
			problems = append(problems, config.Problem{Position: targetFlag, Message: fmt.Sprintf("%s=%s has no effect: a --target without a name replaces all targets", name, t.named[name])})
		default:
			problems = append(problems, config.Problem{Position: targetFlag, Message: fmt.Sprintf("%s=%s: no manifest has a target of that name", name, t.named[name])})
		}
	}
	return problems
}

// expand makes one need of each port entry and target.
func expand(manifests []config.Manifest, flags targetFlags) ([]check.Need, []targetSpec, []config.Problem) {
	var needs []check.Need
	var specs []targetSpec
	var problems []config.Problem
	ids := map[string]config.Position{}
	for _, m := range manifests {
		for _, p := range m.Ports {
			for _, s := range targetsOf(m, p, flags) {
				i := slices.IndexFunc(specs, func(o targetSpec) bool { return o.name == s.name })
				switch {
				case i < 0:
					specs = append(specs, s)
				case specs[i].spec != s.spec:
					p := s.problem(fmt.Errorf("target %q is %s here and %s at %s: want one name for one target", s.name, s.spec, specs[i].spec, specs[i].from))
					if !slices.Contains(problems, p) {
						problems = append(problems, p)
					}
				default:
					specs[i].chosen = specs[i].chosen && s.chosen
				}
				n := check.Need{Port: p, App: m.App, Machine: m.Host, Target: s.name}
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

// targetsOf lists where one entry is checked.
func targetsOf(m config.Manifest, p config.Port, flags targetFlags) []targetSpec {
	if len(flags.all) > 0 {
		return flags.all
	}
	var declared []targetSpec
	for _, t := range m.Targets {
		declared = append(declared, flags.replaced(flags.target(t.Name, t.URL, t.Position)))
	}
	all := declared
	if len(p.Targets) > 0 {
		all = nil
	}
	for _, name := range p.Targets {
		s := flags.replaced(flags.newTarget(name, p.At))
		if i := slices.IndexFunc(declared, func(d targetSpec) bool { return d.name == name }); i >= 0 {
			s = declared[i]
		}
		if !slices.ContainsFunc(all, func(o targetSpec) bool { return o.name == s.name }) {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return []targetSpec{flags.replaced(flags.newTarget("auto", config.Position{File: m.File}))}
	}
	return all
}
