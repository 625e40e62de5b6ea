package cli

import (
	"fmt"

	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/report"
)

// distrust refuses what manifests name of targets that connect elsewhere, if a
// manifest may be by somebody who must not say where this job connects to.
func (a *app) distrust(specs []targetSpec) []config.Problem {
	why := ci.Untrusted(a.env)
	if why == "" {
		return nil
	}
	var problems []config.Problem
	for _, s := range specs {
		if s.from != targetFlag && s.connects() {
			problems = append(problems, s.problem(fmt.Errorf("target \"%s\" is refused: %s, so that anybody may have written where it connects to; name it in the workflow itself with --target NAME=URL, or allow what manifests name with --allow-manifest-targets (input allow-manifest-targets: true)", report.Safe(s.spec), why)))
		}
	}
	return problems
}
