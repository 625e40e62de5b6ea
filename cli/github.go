package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/report"
)

// writeGitHub writes a report's annotations, step summary and outputs for GitHub
// Actions. It returns only errors of annotations. Files that can't be written are
// a warning: under act, variables name paths that do not exist in the container.
func (a *app) writeGitHub(ctx context.Context, out *outputs, r check.Report, o report.Options) error {
	annotations := a.stderr
	if out.format == "text" {
		annotations = a.stdout
	}
	if out.format != "github" {
		text, err := render(ctx, report.Formats["github"], r, o)
		if err == nil {
			err = text.writeTo(annotations)
		}
		if err != nil {
			return err
		}
	}
	summary, err := render(ctx, report.Formats["markdown"], r, o)
	if err != nil {
		return err
	}
	file, err := a.reportFile(ctx, out, r, o)
	if err != nil {
		file = "" // the other outputs are still useful
		err = fmt.Errorf("report: %w", err)
	}
	err = errors.Join(err, ci.AppendSummary(a.env, summary.String()), ci.WriteOutputs(a.env, actionOutputs(r, file)...))
	if err != nil {
		a.warnOfOutputs(err)
	}
	return nil
}

// warnOfOutputs prints errors of the step's files, which are joined.
func (a *app) warnOfOutputs(err error) {
	a.logf("warning: the step's summary or outputs can't be written: %s", safeWords(strings.ReplaceAll(err.Error(), "\n", "; ")))
}

// actionOutputs returns the outputs that action.yml declares. file is the path of
// the JSON report.
func actionOutputs(r check.Report, file string) []ci.Output {
	type need struct {
		at           config.Position
		name, target string
	}
	unmet, alternatives := map[need]bool{}, map[string][]uint16{}
	for _, result := range r.Results {
		if !result.OK { // both protocols of a need are one conflict
			unmet[need{result.Source, result.Name, result.Target}] = true
		}
		if len(result.Alternatives) > 0 {
			alternatives[result.ID] = result.Alternatives
		}
	}
	object, err := report.InlineJSON(alternatives) // a later step may print it
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return []ci.Output{
		{Name: "ok", Value: strconv.FormatBool(r.OK && len(r.Problems) == 0)},
		{Name: "conflicts", Value: strconv.Itoa(len(unmet))},
		{Name: "report", Value: file},
		{Name: "alternatives", Value: string(object)},
	}
}

// reportFile returns the path of a JSON report that later steps can open: the one
// of -o json=FILE, or else a new file in the runner's temporary directory, so that
// the checkout has no file that is not tracked.
func (a *app) reportFile(ctx context.Context, out *outputs, r check.Report, o report.Options) (string, error) {
	for _, f := range out.files {
		if f.name == "json" {
			path, err := filepath.Abs(f.path)
			if a.inAction && err == nil {
				path = a.pathForSteps(path)
			}
			return path, err
		}
	}
	dir := a.env["RUNNER_TEMP"]
	if a.inAction {
		temp, err := a.runnerTemp()
		if err != nil {
			return "", err
		}
		dir = temp.here
	}
	if dir == "" {
		dir = os.TempDir()
	}
	text, err := render(ctx, report.Formats["json"], r, o)
	if err != nil {
		return "", err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	name, err := createIn(root, "portcheck-", ".json", text, readable)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	if a.inAction {
		path = a.pathForSteps(path)
	}
	return path, nil
}
