package cli

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/report"
)

const allowFlag = "--allow-manifest-targets"

// onGitHub reports whether the run is one of a GitHub workflow, or of a system that
// reads such.
func (a *app) onGitHub() bool {
	return a.inAction || ci.GitHub(a.env) || a.env["GITHUB_EVENT_NAME"] != ""
}

// allowWays names the ways to trust every manifest.
func (a *app) allowWays() string {
	if a.onGitHub() {
		return allowFlag + " (input allow-manifest-targets: true)"
	}
	return allowFlag
}

func allowTargetsFlag(f *pflag.FlagSet, allow *bool) {
	f.BoolVar(allow, "allow-manifest-targets", false, "connect to the targets and remotes that manifests name, even in jobs for pull requests, and for manifests that -r has found")
}

// refuseStrangers returns a problem for each target and each remote that a manifest
// names although a stranger may have written it. Such a person must not choose
// where the run connects to, or from where.
func (a *app) refuseStrangers(needs []check.Need, specs []targetSpec) []config.Problem {
	if reason := ci.Untrusted(a.env); reason != "" {
		reason += ", so anybody may have written this manifest"
		place := "on the command line"
		if a.onGitHub() {
			place = "in the workflow"
		}
		allow := "or allow what manifests name with " + a.allowWays()
		return append(refuseTargets(specs, reason+"; name the target "+place+" with --target NAME=URL, "+allow), refuseRemotes(needs, reason, allow)...)
	}
	if a.inAction || ci.Running(a.env) {
		return nil // who may push to the repository may choose
	}
	var found []targetSpec
	for _, s := range specs {
		if s.found {
			found = append(found, s)
		}
	}
	return refuseTargets(found, "this manifest was found by -r or in a parent directory, and not named, so a stranger may have written it; name the manifest, name the target with --target NAME=URL, or allow it with "+allowFlag)
}

// refuseTargets returns a problem for each target that a manifest names and that
// connects to a machine or a container.
func refuseTargets(specs []targetSpec, reason string) []config.Problem {
	var problems []config.Problem
	for _, s := range specs {
		if s.at != targetFlag && s.connects() {
			problems = append(problems, s.problem(fmt.Errorf("target \"%s\" is refused: %s", report.Safe(s.spec), reason)))
		}
	}
	return problems
}

// refuseRemotes returns a problem for each entry with a remote.
func refuseRemotes(needs []check.Need, reason, allow string) []config.Problem {
	var problems []config.Problem
	refused := map[config.Position]bool{}
	for _, n := range needs {
		if n.Remote == "" || n.At.IsFlag() || refused[n.At] { // each target has a need of the same entry
			continue
		}
		refused[n.At] = true
		problems = append(problems, config.Problem{Position: n.At, Message: fmt.Sprintf("remote \"%s\" is refused: %s; check a service of the target itself with expect: listening, which connects to nothing, %s", report.Safe(n.Remote), reason, allow)})
	}
	return problems
}
