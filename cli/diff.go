package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/internal/within"
	"github.com/org/portcheck/report"
)

// diffOptions are the flags of diff.
type diffOptions struct {
	explainOptions
	connectOptions
	spec, format string
	fileSpecs    []string
	noColor      bool
	ephemeralUDP bool
	allowUnknown bool
}

// explainOptions are the flags that name what is expected to listen.
type explainOptions struct{ allow, manifests []string }

func (o *explainOptions) allowFileFlag(f *pflag.FlagSet) {
	addList(f, &o.allow, "allow", "", "take the listeners that `FILE` lists for no anomalies (repeatable)")
}

func (a *app) diff() *cobra.Command {
	o := &diffOptions{}
	cmd := &cobra.Command{
		Use:   "diff [flags] BASE [NOW]",
		Short: "Compare the listeners of a machine with a baseline",
		Long: `Compares two files that portcheck list -f json has written; - is stdin. Without
NOW, the listeners of the target now are compared with those of BASE.

Listeners that appeared, changed hands (another executable, unit, container or
user) or are exposed to more addresses are anomalies, unless an entry of an
--allow file or a need of a --manifest explains them. The exit code is 1 if there
is an anomaly, else 3 if something could not be compared.`,
		Example: `  portcheck list -f json > base.json
  portcheck diff base.json
  portcheck diff base.json --allow allow.yml --manifest portcheck.yml
  portcheck diff yesterday.json today.json -f markdown`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 || len(args) == 2 {
				return nil
			}
			return usageError(fmt.Errorf("want one baseline and at most one file to compare it with, got %d arguments", len(args)), "`portcheck list -f json > base.json` writes a baseline, and `portcheck diff base.json` compares with it")
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	o.allowFileFlag(f)
	addList(f, &o.manifests, "manifest", "", "take the listeners for no anomalies that are on the port of a need of the manifest `FILE` and match its owner (repeatable)")
	f.BoolVar(&o.ephemeralUDP, "ephemeral-udp", false, "compare UDP sockets on ephemeral ports as well; most are those of clients")
	f.BoolVar(&o.allowUnknown, "allow-unknown", false, "do not fail for listeners whose holders could not be compared")
	f.StringVarP(&o.format, "format", "f", "text", "format on stdout: "+strings.Join(report.DiffFormats.Names(), ", "))
	addList(f, &o.fileSpecs, "output", "o", "also write a format to a file, as `NAME=FILE` (repeatable)")
	f.BoolVar(&o.noColor, "no-color", false, "no colours; setting NO_COLOR does the same")
	f.StringVarP(&o.spec, "target", "t", "auto", "where to look without NOW: `TARGET` is "+config.TargetSyntax())
	o.connectFlags(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.runDiff(cmd, args, o) }
	return cmd
}

func (a *app) runDiff(cmd *cobra.Command, args []string, o *diffOptions) error {
	ctx := cmd.Context()
	write, err := lookupDiff(o.format)
	if err != nil {
		return err
	}
	files, err := outputFiles(a, o.fileSpecs, "json=diff.json", lookupDiff)
	if err != nil {
		return err
	}
	if len(args) == 2 && cmd.Flags().Changed("target") {
		return usageError(errors.New("--target has no effect with two files"), "")
	}
	names := slices.Concat(args, o.allow, o.manifests)
	stdin := 0
	for _, name := range names {
		if name == "-" {
			stdin++
		}
	}
	if stdin > 1 {
		return usageError(errors.New("- is stdin, which can be read only once"), "")
	}
	if err := a.refuseToRead(names...); err != nil {
		return err
	}
	x, err := a.explanations(ctx, o.explainOptions)
	if err != nil {
		return err
	}
	bounds := a.readBounds()
	var reader report.Reader
	var lists []check.Listing
	for _, file := range args {
		l, err := a.readList(ctx, &reader, file, bounds)
		if err != nil {
			return err
		}
		lists = append(lists, l)
	}
	a.addInputs(args...)
	a.addInputs(o.sshOptions.names()...)
	if err := a.refuseOverwrite(); err != nil {
		return err
	}
	finish := func() error {
		d := check.NewDiff(lists[0], lists[1], x, check.CompareOptions{EphemeralUDP: o.ephemeralUDP})
		d.Tool, d.Generated = tool(), time.Now().UTC().Truncate(time.Second)
		return a.writeDiff(ctx, write, files, d, o)
	}
	if len(lists) == 2 {
		return finish()
	}
	return a.onTarget(o.spec, o.connectOptions, func(t check.Target) error {
		now, err := check.List(ctx, t, check.Options{Timeout: o.timeout})
		if err != nil {
			return unknownError(err)
		}
		lists = append(lists, now)
		return finish()
	})
}

func lookupDiff(name string) (report.Writer[check.Diff], error) {
	format, err := report.DiffFormats.Lookup(name)
	if err != nil {
		return nil, usageError(err, config.DidYouMean(name, report.DiffFormats.Names()))
	}
	return format, nil
}

// writeDiff writes a comparison to all outputs, and returns the failure that its exit
// code stands for.
func (a *app) writeDiff(ctx context.Context, write report.Writer[check.Diff], files []outputFile[check.Diff], d check.Diff, o *diffOptions) error {
	text, err := render(ctx, write, d, report.Options{Color: a.color(a.stdout, o.noColor), Width: a.width(a.stdout)})
	if err == nil {
		if err = text.writeTo(a.stdout); readerGone(err) {
			err = nil // the reader, such as head, has seen enough
		}
	}
	failures := append([]error{writeFailure("the comparison", err)}, writeFiles(ctx, a, files, d, report.Options{}, false)...)
	if err := report.TargetNotices(a.stderr, []check.TargetReport{d.Now}); err != nil {
		failures = append(failures, writeFailure("the notices", err))
	}
	switch s := d.Summary; {
	case s.Anomalies > 0:
		failures = append(failures, failure{fmt.Errorf("listeners that differ from the baseline and are not explained: %d", s.Anomalies), exitUnmet, ""})
	case s.Unknown > 0 && !o.allowUnknown:
		failures = append(failures, unknownError(fmt.Errorf("listeners that could not be compared with the baseline: %d (as root, more holders can be seen; --allow-unknown accepts it)", s.Unknown)))
	}
	return joinFailures(failures...)
}

// explanations reads what is expected to listen.
func (a *app) explanations(ctx context.Context, o explainOptions) (check.Explanations, error) {
	type read struct {
		check.Explanations
		problems []config.Problem
		inputs   []input
	}
	r, err := untilCancelled(ctx, func() (r read) {
		bounds := a.readBounds()
		r.Allowed, r.problems = config.LoadAllowed(o.allow, a.stdin, bounds)
		if len(o.manifests) == 0 {
			return r
		}
		vars := a.variables()
		manifests, bad := config.Load(o.manifests, a.stdin, config.Options{Bounds: bounds, Getenv: vars.getenv, Withheld: vars.refused != "", Unfixed: vars.addUnfixed, Opened: vars.addOpened})
		r.problems, r.inputs = append(r.problems, bad...), vars.inputs
		for _, m := range manifests {
			r.Needs = append(r.Needs, m.Ports...)
		}
		for _, note := range vars.notes() {
			a.logf("%s", note)
		}
		return r
	})
	if err != nil {
		return check.Explanations{}, err
	}
	a.inputs = append(a.inputs, r.inputs...)
	a.addInputs(o.allow...)
	return r.Explanations, problemsError(r.problems)
}

// readList reads one list. The error is that of a wrong command line.
func (a *app) readList(ctx context.Context, reader *report.Reader, file string, bounds []within.Dir) (check.Listing, error) {
	type read struct {
		check.Listing
		err error
	}
	r, err := untilCancelled(ctx, func() (r read) {
		r.Listing, r.err = readDocument(ctx, a, file, bounds, "a list of portcheck", func(in io.Reader) (check.Listing, error) { return reader.ReadList(file, in) })
		return r
	})
	if ctx.Err() != nil {
		return check.Listing{}, context.Cause(ctx)
	}
	if err == nil {
		err = r.err
	}
	if p := (config.Problem{}); err != nil && !errors.As(err, &p) {
		err = config.Problem{Position: config.Position{File: file}, Message: err.Error()}
		if errors.Is(r.err, os.ErrNotExist) {
			err = config.Problem{Position: config.Position{File: file}, Message: "cannot be opened: no such file"}
		}
	}
	if err != nil {
		hint := ""
		if errors.Is(r.err, os.ErrNotExist) && isPort(file) {
			hint = "diff compares lists of `portcheck list -f json`; for one port use `portcheck list -p " + file + "` or `portcheck -p " + file + "`"
		}
		return check.Listing{}, usageError(err, hint)
	}
	return r.Listing, nil
}
