package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/report"
)

// outputOptions are the flags for the formats of a report and where they go.
type outputOptions struct {
	format    string
	fileSpecs []string // NAME=FILE
	noColor   bool
	quiet     bool
}

func (o *outputOptions) outputFlags(f *pflag.FlagSet) {
	f.StringVarP(&o.format, "format", "f", "text", "format on stdout: "+strings.Join(report.Names(), ", "))
	addList(f, &o.fileSpecs, "output", "o", "also write a format to a file, as `NAME=FILE` (repeatable)")
	f.BoolVar(&o.noColor, "no-color", false, "no colours; setting NO_COLOR does the same")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "no progress, and no text if every need is met; degraded notes stay, on stderr")
	groupReport.addTo(f)
}

// outputs are stdout and the files that a report is written to.
type outputs struct {
	outputOptions
	stdout report.Format
	files  []outputFile[check.Report]
}

// outputFile is a file that a document is written to.
type outputFile[D any] struct {
	name   string // of the format
	format report.Writer[D]
	path   string
}

// newOutputs looks up the formats that flags name and checks the names of files, before
// anything is probed.
func (a *app) newOutputs(o outputOptions) (*outputs, error) {
	out := &outputs{outputOptions: o}
	var err error
	if out.stdout, err = lookupFormat(o.format); err != nil {
		return nil, err
	}
	out.files, err = outputFiles(a, o.fileSpecs, "json=report.json", lookupFormat)
	return out, err
}

// outputFiles parses the values of --output.
func outputFiles[D any](a *app, specs []string, example string, lookup func(string) (report.Writer[D], error)) ([]outputFile[D], error) {
	var files []outputFile[D]
	for _, text := range specs {
		name, path, ok := strings.Cut(text, "=")
		if !ok || path == "" {
			hint := ""
			if word, file, colon := strings.Cut(text, ":"); colon && file != "" {
				if _, err := lookup(word); err == nil {
					hint = fmt.Sprintf("did you mean \"%s=%s\"?", word, report.Safe(file))
				}
			} else if base, _, _ := strings.Cut(filepath.Base(text), "."); path == "" && base != text {
				if _, err := lookup(base); err == nil {
					hint = fmt.Sprintf("did you mean \"%s=%s\"?", base, report.Safe(text))
				}
			}
			return nil, usageError(fmt.Errorf("-o %q: want NAME=FILE, such as %s", text, example), hint)
		}
		format, err := lookup(name)
		if err != nil {
			return nil, err
		}
		if path == "-" {
			return nil, usageError(fmt.Errorf("-o %q: - is not a file", text), fmt.Sprintf("`-f %s` prints it; a file of that name is ./-", report.Safe(name)))
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() || strings.HasSuffix(path, "/") {
			hint := ""
			if usual, file, _ := strings.Cut(example, "="); usual == name {
				hint = fmt.Sprintf("did you mean \"%s=%s\"?", name, report.Safe(filepath.Join(path, file)))
			}
			return nil, usageError(fmt.Errorf("-o %q: %s is a directory: want a file, such as %s", text, report.Safe(path), example), hint)
		}
		if err := a.refuseRelative(path); err != nil {
			return nil, err
		}
		files = append(files, outputFile[D]{name, format, path})
		a.outputs = append(a.outputs, output{text, path})
	}
	return files, nil
}

// lookupFormat returns the format of a name. The error for an unknown name
// suggests what was probably meant.
func lookupFormat(name string) (report.Format, error) {
	format, err := report.Lookup(name)
	if err == nil {
		return format, nil
	}
	hint := config.DidYouMean(name, report.Names())
	if list := strings.FieldsFunc(name, isListSign); len(list) > 1 {
		hint = fmt.Sprintf("one format is printed, and others are written to files: -f %s -o %s=FILE", report.Safe(list[0]), report.Safe(list[1]))
	}
	if ext := filepath.Ext(name); ext == ".yml" || ext == ".yaml" {
		hint = fmt.Sprintf("-f names the output format; to check a manifest, name it without a flag: portcheck %s", report.Safe(name))
	}
	return nil, usageError(err, hint)
}

// writeReport writes a report to all outputs and keeps it for the exit code. A
// failed output does not stop the others.
func (a *app) writeReport(ctx context.Context, out *outputs, r check.Report, v verdictOptions) error {
	r.Generated = time.Now().UTC().Truncate(time.Second)
	a.report, a.verdict = r, v
	here, err := os.Getwd()
	if err != nil {
		here = "" // reports then show files by the names that were given
	}
	options := report.Options{Color: a.color(a.stdout, out.noColor), Width: a.width(a.stdout), Root: a.workspace(here), Dir: here, Failing: v.failing()}
	var failures []error
	if !out.quiet || out.format != "text" || !r.OK {
		text, err := render(ctx, out.stdout, r, options)
		if err == nil {
			err = text.writeTo(a.stdout)
		}
		failures = append(failures, writeFailure("the report", err))
	}
	if out.quiet && out.format == "text" && r.OK {
		a.noteDegraded(r)
	}
	options.Color, options.Width = false, 0
	failures = append(failures, writeFiles(ctx, a, out.files, r, options, out.quiet)...)
	if ci.GitHub(a.env) {
		failures = append(failures, writeFailure("the annotations", a.writeGitHub(ctx, out, r, options)))
	}
	return joinFailures(failures...)
}

// noteDegraded writes to stderr what could not be determined, each once: silence would
// say that everything was.
func (a *app) noteDegraded(r check.Report) {
	const most = 20
	told := map[string]bool{}
	more := 0
	note := func(name string, notices []check.Notice) {
		for _, n := range notices {
			switch {
			case n.Code != config.Degraded || told[n.Message]:
			case len(told) == most:
				more++
			default:
				told[n.Message] = true
				a.logf("%s: %s: %s", cmp.Or(n.Severity, "note"), safeWords(name), safeWords(n.Message))
			}
		}
	}
	for _, t := range r.Targets {
		note(t.Name, t.Notices)
	}
	for _, result := range r.Results {
		note(result.Name, result.Notices)
	}
	if more > 0 {
		a.logf("note: %d more notes are in the report without --quiet", more)
	}
}

// writeFiles writes a document to files, and a line about each to stderr. A file that
// can't be written does not stop the others.
func writeFiles[D any](ctx context.Context, a *app, files []outputFile[D], document D, o report.Options, quiet bool) []error {
	if len(files) == 0 {
		return nil
	}
	var failures []error
	bounds := a.writeBounds()
	for _, f := range files {
		text, err := render(ctx, f.format, document, o)
		if err == nil {
			err = writeFile(ctx, f.path, text, bounds)
		}
		switch {
		case err != nil:
			failures = append(failures, unknownError(fmt.Errorf("%s could not be written to %s: %w", f.name, report.Safe(f.path), withoutPath(err))))
		case !quiet:
			a.logf("wrote %s to %s", f.name, report.Safe(f.path))
		}
	}
	return failures
}

// render returns a document in a format, unless ctx ends first.
func render[D any](ctx context.Context, f report.Writer[D], document D, o report.Options) (page, error) {
	type rendered struct {
		text page
		err  error
	}
	out, err := untilCancelled(ctx, func() (out rendered) {
		out.err = f(&out.text, document, o)
		return out
	})
	if err != nil {
		return nil, err
	}
	return out.text, out.err
}

// page is what a format writes, in its parts: a bytes.Buffer takes twice the memory while
// it grows.
type page [][]byte

func (p *page) Write(text []byte) (int, error) {
	*p = append(*p, bytes.Clone(text))
	return len(text), nil
}

// writeTo writes the parts to a stream.
func (p page) writeTo(w io.Writer) error {
	for _, part := range p {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// String returns all parts as one text.
func (p page) String() string { return string(bytes.Join(p, nil)) }

// writeFailure returns the failure of output that could not be written, or nil.
func writeFailure(what string, err error) error {
	if err == nil {
		return nil
	}
	return unknownError(fmt.Errorf("%s could not be written: %w", what, err))
}

// workspace returns the directory that annotations name files relative to: the
// runner's workspace, else the root of the git checkout that contains here, else
// here.
func (a *app) workspace(here string) string {
	if w := ci.Workspace(a.env); w != "" {
		return w
	}
	return workTree(here)
}
