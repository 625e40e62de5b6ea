package cli

import (
	"slices"

	"github.com/spf13/pflag"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/report"
)

// composeOptions are the flags that say how Compose files are read.
type composeOptions struct {
	files    []string
	envFiles []string
	profiles []string
	project  string
}

func (o *composeOptions) composeFlags(f *pflag.FlagSet) {
	addList(f, &o.files, "compose-file", "", "read `FILE` as a Compose file; several are merged into one project (repeatable)")
	addList(f, &o.envFiles, "env-file", "", "read the variables of Compose files from `FILE` instead of .env (repeatable)")
	addList(f, &o.profiles, "profile", "", "take `NAME` for an active profile of Compose, or * for all (repeatable)")
	f.StringVar(&o.project, "project", "", "`NAME` of the Compose project, instead of COMPOSE_PROJECT_NAME and name:")
	groupCompose.addTo(f)
}

// names returns the files that the flags name.
func (o composeOptions) names() []string {
	return append(o.files[:len(o.files):len(o.files)], o.envFiles...)
}

// apply gives the options of a source what the flags say.
func (o composeOptions) apply(to *config.Options) {
	to.EnvFiles, to.Profiles, to.Project = o.envFiles, o.profiles, o.project
}

// withoutCompose returns a problem for each flag that has no effect on the manifests,
// since none is a Compose file.
func (o composeOptions) withoutCompose(manifests []config.Manifest) []config.Problem {
	if slices.ContainsFunc(manifests, func(m config.Manifest) bool { return m.Compose }) {
		return nil
	}
	read := "no file is"
	for _, m := range manifests {
		if m.File != "--port" {
			read = "only " + m.File + " is"
		}
	}
	if len(manifests) > 1 {
		read = "no Compose file is"
	}
	var problems []config.Problem
	for _, f := range []struct {
		name string
		set  bool
	}{{"--env-file", len(o.envFiles) > 0}, {"--profile", len(o.profiles) > 0}, {"--project", o.project != ""}} {
		if f.set {
			problems = append(problems, config.Problem{
				Position: config.Position{File: f.name},
				Message:  report.Safe("is for Compose files, and " + read + " read: name one with --compose-file, or remove " + f.name),
			})
		}
	}
	return problems
}
