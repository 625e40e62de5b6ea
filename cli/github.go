package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"

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
			_, err = annotations.Write(text)
		}
		if err != nil {
			return err
		}
	}
	summary, err := render(ctx, report.Formats["markdown"], r, o)
	if err != nil {
		return err
	}
	file, err := a.reportFile(out, r, o)
	if err != nil {
		file = "" // the other outputs are still useful
	}
	err = errors.Join(err, ci.AppendSummary(a.env, string(summary)), ci.WriteOutputs(a.env, actionOutputs(r, file)...))
	if err != nil {
		a.logf("warning: the step's summary or outputs can't be written: %s", report.Safe(err.Error()))
	}
	return nil
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
	object, err := json.Marshal(alternatives)
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
// of -o json=FILE, or else a new file in the runner's temporary directory. In a
// container action, the paths of the temporary directory and of the workspace differ
// from those in later steps. Only the workspace is certain to be shared, so there
// the file is in the workspace, and the path is relative to it.
func (a *app) reportFile(out *outputs, r check.Report, o report.Options) (string, error) {
	for _, f := range out.files {
		if f.name == "json" {
			path, err := filepath.Abs(f.path)
			if rel, outside := filepath.Rel(ci.Workspace(a.env), path); a.inAction && outside == nil && filepath.IsLocal(rel) {
				path = rel
			}
			return path, err
		}
	}
	dir := a.env["RUNNER_TEMP"]
	if a.inAction {
		dir = ci.Workspace(a.env)
	}
	f, err := os.CreateTemp(dir, "portcheck-*.json")
	if err != nil {
		return "", err
	}
	err = report.Formats["json"](f, r, o)
	if err == nil {
		err = makeReadable(f)
	}
	path := f.Name()
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	if a.inAction {
		path = filepath.Base(path)
	}
	return path, nil
}
