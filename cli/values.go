package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
	"github.com/org/portcheck/report"
	"github.com/org/portcheck/transport"
)

// completeValues makes the shell complete the values of flags.
func (a *app) completeValues(root *cobra.Command) {
	words := map[string][]string{
		"fail-on":    failOnWords,
		"undeclared": wordsOf(config.Severities),
		"source":     config.SourceNames(),
		"expect":     config.Expects(),
		"evidence":   wordsOf(transport.Evidences),
		"ssh":        wordsOf(transport.SSHClients),
		"protocol":   append(wordsOf(port.Protocols), "tcp,udp"),
		"address":    {string(port.Any), string(port.Any4), string(port.Any6), string(port.Loopback)},
	}
	for _, cmd := range append(root.Commands(), root) {
		complete := func(flag string, values cobra.CompletionFunc) {
			if cmd.Flags().Lookup(flag) != nil {
				_ = cmd.RegisterFlagCompletionFunc(flag, values) // it fails only for a flag that is not there
			}
		}
		for flag, values := range words {
			complete(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
		}
		if formats := formatsOf(cmd); formats != nil {
			complete("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
			complete("output", func(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
				if strings.Contains(typed, "=") {
					return nil, cobra.ShellCompDirectiveDefault // a file
				}
				return withSuffix(formats, "="), cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
			})
		}
		complete("target", a.targetCompletions)
		complete("set", a.needCompletions("="))
		complete("only", a.needCompletions(""))
		complete("skip", a.needCompletions(""))
		complete("until", cobra.FixedCompletions(untilWords, cobra.ShellCompDirectiveNoFileComp))
		complete("holder", a.holderCompletions)
		complete("run-as", userCompletions)
		complete("job", a.leaseCompletions(func(l check.ListedLease) string { return l.Job }))
		if cmd.Name() == "release" {
			cmd.ValidArgsFunction = a.leaseCompletions(func(l check.ListedLease) string { return l.ID })
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if _, has := cmd.GetFlagCompletionFunc(f.Name); has || f.Value.Type() == "bool" {
				return
			}
			switch value, _ := pflag.UnquoteUsage(f); value {
			case "FILE": // as the shell does it
			case "DIR":
				complete(f.Name, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs))
			default:
				complete(f.Name, cobra.NoFileCompletions)
			}
		})
	}
}

// formatsOf returns what -f of a command takes, nil without the flag.
func formatsOf(cmd *cobra.Command) []string {
	switch {
	case cmd.Flags().Lookup("format") == nil:
		return nil
	case cmd.Name() == "watch":
		return report.EventFormats.Names()
	case cmd.Name() == "assign":
		return report.AssignmentFormats.Names()
	case cmd.Name() == "diff":
		return report.DiffFormats.Names()
	case cmd.Name() == "leases":
		return report.LeasesFormats.Names()
	case cmd.Flags().Lookup("output") == nil:
		return report.ListFormats.Names()
	}
	return report.Names()
}

func wordsOf[S ~string](list []S) []string {
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = string(s)
	}
	return words
}

func withSuffix(words []string, suffix string) []string {
	all := slices.Clone(words)
	for i := range all {
		all[i] += suffix
	}
	return all
}

// targetCompletions are the kinds of targets, and the containers that run.
func (a *app) targetCompletions(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var all []cobra.Completion
	container := ""
	for _, k := range config.TargetKinds {
		if k.Name == "container" {
			container = k.Prefix
		} else {
			all = append(all, k.Prefix)
		}
	}
	for _, name := range transport.ContainerNames(cmd.Context(), a.env) {
		if report.Safe(name) == name { // others belong to no shell
			all = append(all, container+name)
		}
	}
	directive := cobra.ShellCompDirectiveNoFileComp
	if strings.HasPrefix("ssh://", typed) && typed != "" {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	return all, directive
}

// listOf returns the texts of a repeatable flag, nil if a command does not have it.
func listOf(cmd *cobra.Command, flag string) []string {
	f := cmd.Flags().Lookup(flag)
	if f == nil {
		return nil
	}
	return f.Value.(pflag.SliceValue).GetSlice()
}

// needCompletions returns a function that completes the names of needs, of the
// manifests that the command line names or finds.
func (a *app) needCompletions(suffix string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var o needOptions
		o.recursive, o.files = listOf(cmd, "recursive"), listOf(cmd, "compose-file")
		o.source, _ = cmd.Flags().GetString("source")
		var names []string
		if strings.Contains(typed, "=") || a.refuseToRead(args...) != nil || slices.Contains(args, "-") {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		manifests, _ := a.manifests(args, o, a.variables()) // of those that can be read
		for _, m := range manifests {
			for _, p := range m.Ports {
				if !slices.Contains(names, p.Name) {
					names = append(names, p.Name)
				}
			}
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		if suffix != "" {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		return withSuffix(names, suffix), directive
	}
}
