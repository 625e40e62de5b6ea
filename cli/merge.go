package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/internal/within"
	"github.com/org/portcheck/report"
)

// mergeOptions are the flags of merge.
type mergeOptions struct {
	outputOptions
	verdictOptions
	alternatives int
}

func (a *app) merge() *cobra.Command {
	o := &mergeOptions{}
	cmd := &cobra.Command{
		Use:   "merge [flags] [NAME=]REPORT...",
		Short: "Merge the JSON reports of several hosts into one report",
		Long: `Reads reports that portcheck check -f json has written on different hosts, and
prints what a single check of all these hosts would print, with the same exit
code. A REPORT is a file, - for stdin, or a glob. NAME= renames the target of a
report, since on each host its name is local.

Alternatives are ports that are free on all targets of a need. For these, run
check with --candidates on each host.`,
		Example: `  portcheck merge app1=app1.json app2=app2.json
  portcheck merge -f markdown -o junit=ports.xml reports/*.json
  ssh app1 portcheck -f json --candidates 9 | portcheck merge app1=- app2=b.json`,
		Args: cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVar(&o.alternatives, "alternatives", 3, "number of alternatives to suggest for each unmet need")
	o.outputFlags(f)
	o.verdictFlags(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.runMerge(cmd.Context(), args, o) }
	return cmd
}

func (a *app) runMerge(ctx context.Context, args []string, o *mergeOptions) error {
	if len(args) == 0 {
		return usageError(errors.New("no reports to merge: name at least one"), "see `portcheck merge --help`")
	}
	if err := validCount("alternatives", o.alternatives, mostAlternatives); err != nil {
		return err
	}
	if err := o.verdictOptions.validate(); err != nil {
		return err
	}
	out, err := a.newOutputs(o.outputOptions)
	if err != nil {
		return err
	}
	for _, arg := range args {
		_, pattern, _ := splitReportArg(arg)
		if pattern == "" {
			return usageError(fmt.Errorf("%q: the file is missing: want [NAME=]FILE", arg), "")
		}
		if err := a.refuseToRead(pattern); err != nil {
			return err
		}
	}
	bounds := a.readBounds()
	sources, problems := parseReportArgs(args, bounds)
	for _, s := range sources {
		a.addInputs(s.file)
	}
	if err := a.refuseOverwrite(); err != nil {
		return err
	}
	var parts []check.Part
	var reader report.Reader
	for _, s := range sources {
		part, err := a.readPart(ctx, &reader, s, bounds)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			problems = append(problems, config.Problem{Position: config.Position{File: s.file}, Message: err.Error()})
			continue
		}
		parts = append(parts, part)
	}
	r := check.Report{}
	if len(problems) == 0 {
		if err := validForAll("alternatives", o.alternatives, resultsOf(parts), mostAlternativesOfRun); err != nil {
			return err
		}
		if r, problems, err = check.Merge(ctx, parts, tool(), o.alternatives); err != nil {
			return err
		}
		r.Merged = true
	}
	if len(problems) > 0 {
		r = check.Report{Version: 1, Tool: tool(), Problems: problems, Merged: true}
	}
	return a.writeReport(ctx, out, r, o.verdictOptions)
}

func resultsOf(parts []check.Part) int {
	n := 0
	for _, p := range parts {
		n += len(p.Results)
	}
	return n
}

// reportArg is a report to read. If name is not empty, it is the new name of the
// report's target.
type reportArg struct{ name, file string }

// splitReportArg splits [NAME=]REPORT.
func splitReportArg(arg string) (name, pattern string, named bool) {
	name, pattern, named = strings.Cut(arg, "=")
	if named && isTargetName(name) {
		return name, pattern, true
	}
	return "", arg, false
}

// parseReportArgs returns the reports that arguments name, without duplicates.
func parseReportArgs(args []string, bounds []within.Dir) ([]reportArg, []config.Problem) {
	var all []reportArg
	var problems []config.Problem
	seen := map[reportArg]bool{}
	for _, arg := range args {
		name, pattern, named := splitReportArg(arg)
		files, bad := config.Files([]string{pattern}, bounds...)
		problems = append(problems, bad...)
		if named && len(files) > 1 {
			problems = append(problems, config.Problem{Position: config.Position{File: pattern}, Message: fmt.Sprintf("%d files match, and %s= can name only one", len(files), name)})
		}
		for _, file := range files {
			if s := (reportArg{name, file}); !seen[s] {
				seen[s] = true
				all = append(all, s)
			}
		}
	}
	return all, problems
}

// readPart reads one report and renames its target if its argument has a name.
func (a *app) readPart(ctx context.Context, reader *report.Reader, s reportArg, bounds []within.Dir) (check.Part, error) {
	type read struct {
		check.Report
		err error
	}
	r, err := untilCancelled(ctx, func() (r read) {
		r.Report, r.err = a.readReport(ctx, reader, s.file, bounds)
		return r
	})
	err = cmp.Or(err, r.err)
	part := check.Part{File: s.file, Report: r.Report}
	if err == nil && s.name != "" {
		err = part.Rename(s.name)
	}
	return part, err
}

// readReport reads a report.
func (a *app) readReport(ctx context.Context, reader *report.Reader, file string, bounds []within.Dir) (check.Report, error) {
	return readDocument(ctx, a, file, bounds, "a report of check", reader.Read)
}

// readDocument reads a file, or stdin. An error does not show what a file contains if a
// link led out of the directory of its name.
func readDocument[D any](ctx context.Context, a *app, file string, bounds []within.Dir, what string, read func(io.Reader) (D, error)) (D, error) {
	var none D
	if file == "-" {
		return read(a.stdin)
	}
	f, err := within.Open(file, bounds)
	if err != nil {
		return none, fmt.Errorf("cannot be opened: %w", withoutPath(err))
	}
	defer f.Close()
	d, err := read(cancellableReader{ctx, f})
	if err != nil && f.Left != nil {
		return none, fmt.Errorf("is not %s; the reason is not shown, since a link may lead to this file, out of %q: name the file itself to see it", what, *f.Left)
	}
	return d, err
}
