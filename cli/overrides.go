package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// mostHints limits comparisons of a name with those of all needs.
const mostHints = 20

// applyOverrides applies --offset and --set to manifests. A need that --set names
// is not moved by --offset. A block that --set gives one port starts there. A name that no need has is a problem only if complete
// is set: else its manifest may be one that could not be read.
func applyOverrides(manifests []config.Manifest, offset int, sets []string, complete bool) []config.Problem {
	var problems []config.Problem
	problem := func(flag, format string, args ...any) {
		problems = append(problems, config.Problem{Position: config.Position{File: flag}, Message: fmt.Sprintf(format, args...)})
	}
	ports := map[string]port.Range{} // of --set, by name
	for _, s := range sets {
		name, text, ok := strings.Cut(s, "=")
		r, err := port.ParseRange(text)
		switch {
		case !ok && withEquals(s) != "":
			problem("--set", "%q: want NAME=PORT; did you mean `--set %s`?", s, withEquals(s))
		case !ok || name == "":
			problem("--set", "%q: want NAME=PORT, such as web=9090", s)
		case err != nil && strings.Contains(text, "="):
			problem("--set", "%q: want one NAME=PORT; %s", s, onceForEach("--set", s))
		case err != nil:
			problem("--set", "%s", about(s, err))
		default:
			ports[name] = r
		}
	}
	used := map[string]bool{}
	var names []string
	for _, m := range manifests {
		for i := range m.Ports {
			p := &m.Ports[i]
			names = append(names, p.Name)
			name := m.App + "/" + p.Name
			r, set := ports[name]
			if !set {
				name = p.Name
				r, set = ports[name]
			}
			if set {
				used[name] = true
				size := p.Ports.Len()
				switch {
				case r.Len() != 1 && size > 1 && r.Len() != size:
					problem("--set", "%s=%s: %s (%s) is a block of %d ports: want its first port alone, as in %s=%d, or %d ports", name, r, p.Name, p.At, size, name, r.First, size)
					continue
				case r.Len() == 1 && size > 1:
					last := int(r.First) + size - 1
					if last > port.MaxPort {
						problem("--set", "%s=%d moves the %d ports of %s (%s) above %d", name, r.First, size, p.Name, p.At, port.MaxPort)
						continue
					}
					r.Last = uint16(last)
				}
				p.Ports, p.Auto = r, false
				continue
			}
			if p.Expect.Connects() || p.Auto {
				continue
			}
			first, last := int(p.Ports.First)+offset, int(p.Ports.Last)+offset
			if first < 1 || last > port.MaxPort {
				problem("--offset", "%d moves %s (%s) from %s to a port below 1 or above %d", offset, p.Name, p.At, p.Ports, port.MaxPort)
				continue
			}
			p.Ports = port.Range{First: uint16(first), Last: uint16(last)}
		}
	}
	hints := mostHints
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		if !complete || used[name] {
			continue
		}
		message := fmt.Sprintf("no need is named %q", name)
		if hints--; hints >= 0 {
			message += "; " + namesLike(name, names)
		}
		problem("--set", "%s", message)
	}
	slices.SortFunc(problems, func(a, b config.Problem) int { return strings.Compare(a.Message, b.Message) })
	return config.Shortened(problems)
}

// namesListed limits the names of a hint.
const namesListed = 10

// namesLike returns which name was probably meant, else what the needs are named.
func namesLike(name string, names []string) string {
	if hint := config.DidYouMean(name, names); hint != "" {
		return hint
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(names) == 0 {
		return "there is no need at all"
	}
	var quoted []string
	for _, n := range names[:min(len(names), namesListed)] {
		quoted = append(quoted, strconv.Quote(n))
	}
	text := "want " + config.OneOf(quoted)
	if more := len(names) - namesListed; more > 0 {
		text = fmt.Sprintf("want one of %s and %d more", strings.Join(quoted, ", "), more)
	}
	return text
}

// withEquals returns a value of --set with "=" for the sign before its port, or "" if
// that does not make one.
func withEquals(s string) string {
	i := strings.LastIndexFunc(s, func(r rune) bool { return r == ':' || r == ' ' })
	if i <= 0 || strings.ContainsFunc(s[:i], isListSign) {
		return ""
	}
	if _, err := port.ParseRange(s[i+1:]); err != nil {
		return ""
	}
	return s[:i] + "=" + s[i+1:]
}
