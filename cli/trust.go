package cli

import (
	"fmt"

	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/report"
)

// untrustedTargets returns a problem for each target that a manifest names and
// that connects to another machine, if the job runs for a change that somebody
// without access to the repository may have written. Such a person must not
// choose where the job connects to.
func (a *app) untrustedTargets(specs []targetSpec) []config.Problem {
	reason := ci.Untrusted(a.env)
	if reason == "" {
		return nil
	}
	var problems []config.Problem
	for _, s := range specs {
		if s.at != targetFlag && s.connects() {
			problems = append(problems, s.problem(fmt.Errorf("target \"%s\" is refused: %s, so anybody may have written this manifest; name the target in the workflow with --target NAME=URL, or allow the targets of manifests with --allow-manifest-targets (input allow-manifest-targets: true)", report.Safe(s.spec), reason)))
		}
	}
	return problems
}
