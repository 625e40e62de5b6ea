package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/target"
)

// targetSpec is a target to open, with the place that asked for it.
type targetSpec struct {
	name, spec string
	from       config.Position
}

func (s targetSpec) problem(err error) config.Problem {
	return config.Problem{Position: s.from, Message: err.Error()}
}

// targetFlags are the --target flags: All replaces every target of the
// manifests, named ones replace those of the same name.
type targetFlags struct {
	all   []targetSpec
	named map[string]string
}

func parseTargets(flags []string) (targetFlags, []config.Problem) {
	t := targetFlags{named: map[string]string{}}
	var problems []config.Problem
	from := config.Position{File: "--target"}
	for _, f := range flags {
		name, spec, named := strings.Cut(f, "=")
		if named && isTargetName(name) {
			if err := target.Known(spec); err != nil {
				problems = append(problems, config.Problem{Position: from, Message: err.Error()})
			}
			t.named[name] = spec
			continue
		}
		if err := target.Known(f); err != nil {
			problems = append(problems, config.Problem{Position: from, Message: err.Error()})
		}
		s := targetSpec{target.Label(f), f, from}
		if !slices.Contains(t.all, s) {
			t.all = append(t.all, s)
		}
	}
	return t, problems
}

func isTargetName(s string) bool {
	return s != "" && !strings.ContainsAny(s, ":/@")
}

// expand makes one need of each port entry and target.
func expand(manifests []config.Manifest, flags targetFlags) ([]check.Need, []targetSpec, []config.Problem) {
	var needs []check.Need
	var specs []targetSpec
	var problems []config.Problem
	ids := map[string]config.Position{}
	used := map[string]bool{}
	for _, m := range manifests {
		for _, p := range m.Ports {
			for _, s := range targetsOf(m, p, flags, used) {
				i := slices.IndexFunc(specs, func(o targetSpec) bool { return o.name == s.name })
				switch {
				case i < 0:
					specs = append(specs, s)
				case specs[i].spec != s.spec:
					problems = append(problems, s.problem(fmt.Errorf("target %q is %s here and %s at %s: want one name for one target", s.name, s.spec, specs[i].spec, specs[i].from)))
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
	for name := range flags.named {
		if !used[name] {
			problems = append(problems, config.Problem{
				Position: config.Position{File: "--target"},
				Message:  fmt.Sprintf("no manifest has a target named %q", name),
			})
		}
	}
	return needs, specs, problems
}

// targetsOf lists where one entry is checked.
func targetsOf(m config.Manifest, p config.Port, flags targetFlags, used map[string]bool) []targetSpec {
	declared := map[string]targetSpec{}
	var order []targetSpec
	for _, t := range m.Targets {
		s := targetSpec{t.Name, t.URL, t.Position}
		if spec, ok := flags.named[t.Name]; ok {
			s.spec, s.from = spec, config.Position{File: "--target"}
			used[t.Name] = true
		}
		declared[t.Name] = s
		order = append(order, s)
	}
	switch {
	case len(flags.all) > 0:
		return flags.all
	case len(p.Targets) > 0:
		var all []targetSpec
		for _, name := range p.Targets {
			s, ok := declared[name]
			if !ok {
				s = targetSpec{target.Label(name), name, p.At}
			}
			all = append(all, s)
		}
		return all
	case len(order) > 0:
		return order
	}
	return []targetSpec{{target.Label("auto"), "auto", config.Position{File: m.File}}}
}
