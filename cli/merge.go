package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/report"
)

// mergeOptions are the flags of merge.
type mergeOptions struct {
	tellOptions
	verdictOptions
	alternatives int
}

func (a *app) merge() *cobra.Command {
	o := &mergeOptions{}
	cmd := &cobra.Command{
		Use:   "merge [flags] [NAME=]REPORT...",
		Short: "Merge the JSON reports of several hosts to one report",
		Long: `Reads reports that portcheck check -f json wrote, each on a host of its own, and
tells what one check of all these hosts would tell, with its exit code. A REPORT
is a file, - for stdin, or a glob. NAME= says what the report's target is called
here: on its own host it is local.

Alternatives are ports that are free on all targets of a need. For that, have
each host list where its needs could move, by --candidates.`,
		Example: `  portcheck merge app1=app1.json app2=app2.json
  portcheck merge -f markdown -o junit=ports.xml reports/*.json
  ssh app1 portcheck -t local -f json --candidates 64 | portcheck merge app1=- app2=app2.json`,
		Args: cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVar(&o.alternatives, "alternatives", 3, "how many alternatives to suggest for each unmet need")
	o.tellFlags(f)
	o.verdictFlags(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.runMerge(cmd.Context(), args, o) }
	return cmd
}

func (a *app) runMerge(ctx context.Context, args []string, o *mergeOptions) error {
	if len(args) == 0 {
		return usageError{errors.New("there is nothing to merge: name the reports"), "see `portcheck merge --help`"}
	}
	if err := validCount("alternatives", o.alternatives); err != nil {
		return err
	}
	if err := o.verdictOptions.validate(); err != nil {
		return err
	}
	tell, err := a.teller(o.tellOptions)
	if err != nil {
		return err
	}
	sources, problems := reportFiles(args)
	var parts []check.Part
	for _, s := range sources {
		part, err := a.readPart(ctx, s)
		if err != nil {
			problems = append(problems, config.Problem{Position: config.Position{File: s.file}, Message: err.Error()})
		}
		parts = append(parts, part)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r := check.Report{}
	if len(problems) == 0 {
		r, problems = check.Merge(parts, tool(), o.alternatives)
	}
	if len(problems) > 0 {
		r = check.Report{Version: 1, Tool: tool(), Problems: problems}
	}
	return a.finish(tell, r, o.verdictOptions)
}

// reportFile is a report to read, and the name that its target gets if it is
// not to keep its own.
type reportFile struct{ name, file string }

// reportFiles are the files that arguments name, each once.
func reportFiles(args []string) ([]reportFile, []config.Problem) {
	var all []reportFile
	var problems []config.Problem
	for _, arg := range args {
		name, pattern, named := strings.Cut(arg, "=")
		if named = named && isTargetName(name); !named {
			name, pattern = "", arg
		}
		files, bad := config.Files([]string{pattern})
		problems = append(problems, bad...)
		if named && len(files) > 1 {
			problems = append(problems, config.Problem{Position: config.Position{File: pattern}, Message: fmt.Sprintf("%d files match, and %s= can name only one", len(files), name)})
		}
		for _, file := range files {
			if s := (reportFile{name, file}); !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all, problems
}

// readPart reads one report, whose target may get another name.
func (a *app) readPart(ctx context.Context, s reportFile) (check.Part, error) {
	r, err := a.readReport(ctx, s.file)
	part := check.Part{File: s.file, Report: r}
	if err == nil && s.name != "" {
		err = part.Rename(s.name)
	}
	return part, err
}

func (a *app) readReport(ctx context.Context, file string) (check.Report, error) {
	if file == "-" {
		return report.Read(a.stdin)
	}
	f, err := os.Open(file)
	if err != nil {
		return check.Report{}, fmt.Errorf("cannot be opened: %w", reason(err))
	}
	defer f.Close()
	return report.Read(interruptible{ctx, f})
}
