package cli

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/org/portcheck/config"
)

// selectNeeds removes the needs that --only and --skip leave out, and remembers them: their
// names for a note, and their ports, which no other need may get. A pattern that matches no need is a problem only if complete is
// set: else its manifest may be one that could not be read.
func selectNeeds(manifests []config.Manifest, only, skip []string, complete bool, vars *variables) []config.Problem {
	if len(only)+len(skip) == 0 {
		return nil
	}
	var problems []config.Problem
	problem := func(flag, format string, args ...any) {
		problems = append(problems, config.Problem{Position: config.Position{File: flag}, Message: fmt.Sprintf(format, args...)})
	}
	used := map[string]bool{}
	matches := func(flag string, patterns []string, app, name string) bool {
		found := false
		for _, p := range patterns {
			text := name
			if strings.Contains(p, "/") {
				text = app + "/" + name
			}
			if ok, _ := path.Match(p, text); ok { // a bad pattern is a problem below
				found, used[flag+p] = true, true
			}
		}
		return found
	}
	var names []string
	left := 0
	for i := range manifests {
		m := &manifests[i]
		rest := *m
		rest.Ports = nil
		m.Ports = slices.DeleteFunc(m.Ports, func(p config.Port) bool {
			names = append(names, p.Name)
			chosen := len(only) == 0 || matches("--only", only, m.App, p.Name)
			if matches("--skip", skip, m.App, p.Name) || !chosen {
				vars.skipped = append(vars.skipped, p.Name)
				rest.Ports = append(rest.Ports, p)
				return true
			}
			left++
			return false
		})
		vars.leftOut = append(vars.leftOut, rest)
	}
	hints := mostHints
	for _, f := range []struct {
		flag     string
		patterns []string
	}{{"--only", only}, {"--skip", skip}} {
		for _, p := range f.patterns {
			if _, err := path.Match(p, ""); err != nil {
				problem(f.flag, "%q is not a valid glob pattern: a [ is not closed, or a \\ ends it", p)
				continue
			}
			if used[f.flag+p] || !complete {
				continue
			}
			message := fmt.Sprintf("no need is named %q", p)
			if hints--; hints >= 0 {
				if hint := onceForEach(f.flag, p); hint != "" {
					message += "; " + hint
				} else {
					message += "; " + namesLike(p, names)
				}
			}
			problem(f.flag, "%s", message)
		}
	}
	if left == 0 && len(problems) == 0 && complete {
		problem("--skip", "no need is left to check")
	}
	if len(problems) > 0 {
		vars.skipped = nil // nothing is checked
	}
	return config.Shortened(problems)
}
