package ci

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sethvargo/go-githubactions"
)

// summaryLimit is GitHub's limit in bytes: a larger step summary is dropped as a
// whole.
const summaryLimit = 1 << 20

// Output is a named output of the step for later steps.
type Output struct{ Name, Value string }

// WriteOutputs appends outputs to the file that GITHUB_OUTPUT names. Values are
// arbitrary text.
func WriteOutputs(env Env, outputs ...Output) error {
	return appendEntries(env, "GITHUB_OUTPUT", outputs)
}

// ExportVariables appends variables to the file that GITHUB_ENV names, so that later
// steps of the job have them.
func ExportVariables(env Env, variables ...Output) error {
	return appendEntries(env, "GITHUB_ENV", variables)
}

// SaveState appends values to the file that GITHUB_STATE names, so that the action's
// step at the end of the job has each as the variable STATE_NAME.
func SaveState(env Env, values ...Output) error {
	return appendEntries(env, "GITHUB_STATE", values)
}

func appendEntries(env Env, variable string, outputs []Output) error {
	var entries strings.Builder
	for _, o := range outputs {
		entry, err := entry(o, "ghadelimiter_"+rand.Text())
		if err != nil {
			return err
		}
		entries.WriteString(entry)
	}
	return appendTo(env, variable, entries.String(), 0)
}

// AppendSummary appends Markdown to the step's summary: the file that
// GITHUB_STEP_SUMMARY names.
func AppendSummary(env Env, markdown string) error {
	if !strings.HasSuffix(markdown, "\n") {
		markdown += "\n"
	}
	return appendTo(env, "GITHUB_STEP_SUMMARY", markdown, summaryLimit)
}

// WarningAnnotation returns the line that makes GitHub show a warning without a file.
func WarningAnnotation(title, message string) string {
	var b bytes.Buffer
	action := githubactions.New(githubactions.WithWriter(lineFeeds{&b}))
	action.WithFieldsMap(map[string]string{"title": title}).Warningf("%s", message)
	return b.String()
}

// lineFeeds ends lines on Windows as elsewhere. A text has no carriage return but that of
// its end: go-githubactions encodes others.
type lineFeeds struct{ io.Writer }

func (w lineFeeds) Write(p []byte) (int, error) {
	if _, err := w.Writer.Write(bytes.ReplaceAll(p, []byte("\r\n"), []byte("\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// entry returns an output as a here-document. The delimiter must be unpredictable:
// a line of the value that is equal to it would end the value, and the lines after
// it could set other outputs.
func entry(o Output, delimiter string) (string, error) {
	if !validName(o.Name) {
		return "", fmt.Errorf("output name %q: want letters, digits, - and _", o.Name)
	}
	if strings.Contains(o.Value, delimiter) {
		return "", fmt.Errorf("output %s: the value contains the delimiter", o.Name)
	}
	return fmt.Sprintf("%s<<%s\n%s\n%s\n", o.Name, delimiter, o.Value, delimiter), nil
}

// validName reports whether name can be the name of an output.
func validName(name string) bool {
	for _, r := range name {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && !('0' <= r && r <= '9') && r != '-' && r != '_' {
			return false
		}
	}
	return name != "" && name[0] != '-'
}

// appendTo appends text to the file that an environment variable names. It does
// not create the directory: under act, the file may exist only outside of the
// container, and a file inside would be lost without an error. A link must not lead
// out of the directory: an earlier step may have left a process that puts one there.
func appendTo(env Env, variable, text string, limit int64) (err error) {
	path := commandFile(env, variable)
	if path == "" {
		return fmt.Errorf("%s is not set", variable)
	}
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("%s: %w", variable, err)
	}
	defer dir.Close()
	f, err := dir.OpenFile(filepath.Base(path), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("%s: %w", variable, err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = fmt.Errorf("%s: %w", variable, err)
		}
	}()
	text, size, err := onNewLine(f, text)
	if err != nil {
		return err
	}
	if limit > 0 && size+int64(len(text)) > limit {
		return fmt.Errorf("%s would grow beyond %d bytes, and GitHub would drop all of it", path, limit)
	}
	if _, err = f.WriteString(text); err != nil {
		err = errors.Join(err, f.Truncate(size)) // a here-document without its end would fail the step
	}
	return err
}

// actMount is where act mounts the directory of these files in the container of an
// action.
const actMount = "/var/run/act"

// commandFile returns the path of the file that a variable names. If act runs a job
// without a container, its variables name files of the machine also in the container of
// an action (RunContext.GetBindsAndMounts of nektos/act).
func commandFile(env Env, variable string) string {
	path := env[variable]
	dir := filepath.Dir(path)
	if !Act(env) || filepath.Base(dir) != "workflow" || filepath.Base(filepath.Dir(dir)) != "act" {
		return path
	}
	if _, err := os.Stat(dir); err == nil {
		return path
	}
	return filepath.Join(actMount, "workflow", filepath.Base(path))
}

// onNewLine returns text and the file's size. If the file does not end with a
// newline, since an earlier command of the step wrote none, text starts with one.
func onNewLine(f *os.File, text string) (string, int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return text, size, err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, size-1); err != nil {
		return "", size, err
	}
	if last[0] != '\n' {
		text = "\n" + text
	}
	return text, size, nil
}
