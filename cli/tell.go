package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/report"
)

// tellOptions are the flags that say how a report is told.
type tellOptions struct {
	format  string
	outputs []string
	noColor bool
	quiet   bool
}

func (o *tellOptions) tellFlags(f *pflag.FlagSet) {
	f.StringVarP(&o.format, "format", "f", "text", "format on stdout: "+strings.Join(report.Names(), ", "))
	f.StringArrayVarP(&o.outputs, "output", "o", nil, "write a format to a file beside stdout, as `NAME=FILE` (repeatable)")
	f.BoolVar(&o.noColor, "no-color", false, "no colours; NO_COLOR does the same")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "no progress, and no text while every need is met")
}

// output is a format and the file that it goes to.
type output struct {
	name, file string
	format     report.Format
}

// teller writes one report everywhere it belongs.
type teller struct {
	tellOptions
	print report.Format // on stdout
	files []output
}

// teller checks the names of formats before anything is probed.
func (a *app) teller(o tellOptions) (*teller, error) {
	t := &teller{tellOptions: o}
	var err error
	if t.print, err = a.lookup(o.format); err != nil {
		return nil, err
	}
	for _, text := range o.outputs {
		name, file, ok := strings.Cut(text, "=")
		if !ok || file == "" {
			return nil, usageError{fmt.Errorf("-o %q: want NAME=FILE, as json=report.json", text), ""}
		}
		format, err := a.lookup(name)
		if err != nil {
			return nil, err
		}
		t.files = append(t.files, output{name, file, format})
	}
	return t, nil
}

// lookup finds a format, and guesses what a wrong name was meant to be.
func (a *app) lookup(name string) (report.Format, error) {
	format, err := report.Lookup(name)
	if err == nil {
		return format, nil
	}
	hint := config.DidYouMean(name, report.Names())
	if ext := filepath.Ext(name); ext == ".yml" || ext == ".yaml" {
		hint = fmt.Sprintf("-f names the output format; to check a manifest, name it without a flag: portcheck %s", report.Safe(name))
	}
	return nil, usageError{err, hint}
}

// finish tells the report and returns what it amounts to.
func (a *app) finish(t *teller, r check.Report, v verdictOptions) error {
	here, err := os.Getwd()
	if err != nil {
		here = "" // files are then named as they were given
	}
	options := report.Options{Color: a.colour(a.stdout, t.noColor), Width: a.width(a.stdout), Root: a.workspace(here), Dir: here}
	var failed []error
	if !t.quiet || t.format != "text" || !r.OK {
		failed = append(failed, unwritten("the report", t.print(a.stdout, r, options)))
	}
	options.Color, options.Width = false, 0
	for _, o := range t.files {
		var text bytes.Buffer
		err := o.format(&text, r, options)
		if err == nil {
			err = writeFile(o.file, text.Bytes())
		}
		switch {
		case err != nil:
			err = fmt.Errorf("%s could not be written to %s: %w", o.name, report.Safe(o.file), reason(err))
			failed = append(failed, unanswered{err})
		case !t.quiet:
			a.say("wrote %s to %s", o.name, report.Safe(o.file))
		}
	}
	if ci.GitHub(a.env) {
		failed = append(failed, unwritten("the annotations", a.github(t, r, options)))
	}
	return outcome(r, v, failed...)
}

// unwritten is what is told of a report that got lost on its way.
func unwritten(what string, err error) error {
	if err == nil {
		return nil
	}
	return unanswered{fmt.Errorf("%s could not be written: %w", what, err)}
}

// reason is why a file could not be written, without the name that it has until
// it is whole.
func reason(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

// github tells a run where GitHub Actions shows it: annotations, the step
// summary and outputs. Files that can't be written are worth a warning: under
// act they name paths that do not exist inside the container.
func (a *app) github(t *teller, r check.Report, o report.Options) error {
	annotations := a.stderr
	if t.format == "text" {
		annotations = a.stdout
	}
	if t.format != "github" {
		if err := report.Formats["github"](annotations, r, o); err != nil {
			return err
		}
	}
	var summary bytes.Buffer
	if err := report.Formats["markdown"](&summary, r, o); err != nil {
		return err
	}
	file, err := a.reportFile(t, r, o)
	if err != nil {
		file = "" // the other outputs are worth having without it
	}
	err = errors.Join(err, ci.AppendSummary(a.env, summary.String()), ci.WriteOutputs(a.env, outputs(r, file)...))
	if err != nil {
		a.say("warning: the step's summary or outputs can't be written: %s", report.Safe(err.Error()))
	}
	return nil
}

// outputs are the action's, as action.yml declares them.
func outputs(r check.Report, file string) []ci.Output {
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

// reportFile is the path of a JSON report as later steps know it: the one that
// was asked for, or one in the runner's temporary directory. In a container that
// is another directory than on the runner, and the workspace alone is the same
// one under another name: there the path is relative to it.
func (a *app) reportFile(t *teller, r check.Report, o report.Options) (string, error) {
	for _, out := range t.files {
		if out.name == "json" {
			name, err := filepath.Abs(out.file)
			if rel, outside := filepath.Rel(ci.Workspace(a.env), name); a.inAction && outside == nil && filepath.IsLocal(rel) {
				name = rel
			}
			return name, err
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
		err = handOver(f)
	}
	name := f.Name()
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(name))
	}
	if a.inAction {
		name = filepath.Base(name)
	}
	return name, nil
}

// handOver makes a new file one that later steps can read, and in a directory of
// another user's one that they can replace: in a container we are root, and they
// are not.
func handOver(f *os.File) error {
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	return giveAway(f.Name(), f.Chown)
}

// workspace is the directory that annotations name files relative to: the
// runner's, else the root of the git checkout around here.
func (a *app) workspace(here string) string {
	if w := ci.Workspace(a.env); w != "" {
		return w
	}
	for dir := here; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return here
		}
	}
}

// writeFile replaces a file as a whole, and makes its parents.
func writeFile(name string, data []byte) (err error) {
	if isSpecial(name) {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Close())
	}
	if err := makeParents(filepath.Dir(name)); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".portcheck-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the error that matters is the first
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = handOver(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// isSpecial says whether a name is of something to write into: a device, a pipe
// or an open file of ours. Other links are replaced: in a directory of another
// user's, nobody knows where they lead.
func isSpecial(name string) bool {
	if path := filepath.Clean(name); path == "/dev/stdout" || path == "/dev/stderr" || strings.HasPrefix(path, "/dev/fd/") || strings.HasPrefix(path, "/proc/self/fd/") {
		return true
	}
	info, err := os.Lstat(name)
	return err == nil && info.Mode()&(fs.ModeDevice|fs.ModeNamedPipe) != 0
}

// makeParents makes the directories of a path that are missing, each of them
// the user's whose directory it is in.
func makeParents(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeParents(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return giveAway(dir, func(uid, gid int) error { return os.Lchown(dir, uid, gid) })
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
