// Package target is how we get to a host: a table of kinds, each with the
// targets that it takes and how it opens them.
package target

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/org/portcheck/host"
)

// kind opens one sort of target.
type kind struct {
	name  string
	label string // of a target that was given no name; "" is its own text
	takes func(spec string) bool
	open  func(ctx context.Context, spec string, env map[string]string) (host.Host, error) // nil: not built yet
}

var kinds = []kind{
	{"auto", "local", is("auto"), openLocal},
	{"local", "local", is("local"), openLocal},
	{"runner", "runner", is("runner"), nil},
	{"job", "job", is("job"), nil},
	{"container:NAME", "", starts("container:"), nil},
	{"ssh://[user@]host[:port]", "", starts("ssh://"), nil},
}

func is(name string) func(string) bool { return func(spec string) bool { return spec == name } }

func starts(prefix string) func(string) bool {
	return func(spec string) bool { return strings.HasPrefix(spec, prefix) && len(spec) > len(prefix) }
}

func openLocal(_ context.Context, _ string, env map[string]string) (host.Host, error) {
	return withEngine(host.Local{}, env), nil
}

// Label is the name of a target that was given none: its kind's, else itself.
func Label(spec string) string {
	if k, err := find(spec); err == nil && k.label != "" {
		return k.label
	}
	return spec
}

// Known says whether a target is of a kind that portcheck has a name for.
func Known(spec string) error {
	_, err := find(spec)
	return err
}

// Check says whether a target can be opened by this version, without opening it.
func Check(spec string) error {
	k, err := find(spec)
	if err != nil {
		return err
	}
	if k.open == nil {
		return fmt.Errorf("target %q: this version can't reach targets of the kind %s yet; it can: %s", spec, k.name, list(true))
	}
	return nil
}

// Open reaches a target. The environment says where the container engine is.
func Open(ctx context.Context, spec string, env map[string]string) (host.Host, error) {
	if err := Check(spec); err != nil {
		return nil, err
	}
	k, err := find(spec)
	if err != nil {
		return nil, err
	}
	return k.open(ctx, spec, env)
}

func find(spec string) (kind, error) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.takes(spec) })
	if i < 0 {
		return kind{}, fmt.Errorf("target %q is of no known kind; want one of: %s", spec, list(false))
	}
	return kinds[i], nil
}

func list(built bool) string {
	var names []string
	for _, k := range kinds {
		if !built || k.open != nil {
			names = append(names, k.name)
		}
	}
	return strings.Join(names, ", ")
}
