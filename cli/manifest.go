package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
	"github.com/org/portcheck/report"
)

// ofManifests are the ports of needs by the file and the position in it.
type ofManifests map[string]map[config.Position]port.Range

func (m ofManifests) add(at config.Position, r port.Range) {
	if m[at.File] == nil {
		m[at.File] = map[config.Position]port.Range{}
	}
	m[at.File][at] = r
}

// mayWrite returns the manifests of needs as they are, or an error if ports can't be
// written into them, before there are any.
func (a *app) mayWrite(ctx context.Context, needs []check.Need, o *assignOptions) (manifestTexts, error) {
	if reason := ci.Untrusted(a.env); reason != "" {
		return nil, usageError(fmt.Errorf("--write is refused: %s, so anybody may have written what it would change; write the ports to a file of your own with -o", reason), "")
	}
	if o.offset != 0 {
		return nil, usageError(errors.New("--write and --offset: the next run would add the offset to ports that have it already; leave one of them out"), "")
	}
	var failures []error
	ports, refused := ofManifests{}, map[string]bool{}
	for _, n := range needs {
		wrong := ""
		switch {
		case n.Project != "":
			wrong = "--write changes manifests of portcheck alone, and this is a Compose file: write an override file with -o compose=FILE"
		case n.At.IsFlag():
			wrong = "--write has no manifest to write the port to: the need is that of a flag"
		case n.At.File == "-":
			wrong = "--write can't write into what is read from standard input: name the file"
		}
		if wrong != "" {
			if !refused[n.At.File] { // one line for each file
				failures = append(failures, usageError(config.Problem{Position: n.At, Message: wrong}, ""))
			}
			refused[n.At.File] = true
			continue
		}
		ports.add(n.At, n.Ports)
	}
	if len(failures) > 0 {
		return nil, joinFailures(failures...)
	}
	edits, err := a.editManifests(ports)
	if err != nil {
		return nil, err
	}
	texts := manifestTexts{}
	for _, e := range edits {
		texts[e.file] = string(e.before)
		failures = append(failures, a.tryStage(ctx, e))
	}
	return texts, joinFailures(failures...)
}

// tryStage returns an error if a manifest can't be replaced, such as one in a directory
// that can't be written to.
func (a *app) tryStage(ctx context.Context, e edit) error {
	r, err := openReplacement(ctx, e.file, a.writeBounds())
	if err == nil {
		defer r.close()
		if !a.isAsRead(e.file, r.old) {
			return unknownError(fmt.Errorf("%s was edited while it was read, so no port is chosen: run the command again", report.Safe(e.file)))
		}
		err = r.stage(e.before, nil)
	}
	return manifestFailure(e.file, err)
}

// isAsRead reports whether a file is the one of that name which this run has read first,
// and was not written to since then. Of two jobs that have both read a manifest, one may
// have replaced it before the other takes down its text.
func (a *app) isAsRead(name string, f *os.File) bool {
	i := slices.IndexFunc(a.inputs, func(in input) bool { return in.name == name })
	if i < 0 {
		return true
	}
	read := a.inputs[i].info
	info, err := f.Stat()
	return err == nil && os.SameFile(read, info) && read.ModTime().Equal(info.ModTime()) && read.Size() == info.Size()
}

// manifestFailure returns the failure of a manifest that can't be written, or nil.
func manifestFailure(file string, err error) error {
	return writeFailure("the ports in "+report.Safe(file), withoutPath(err))
}

// manifestTexts are the texts of manifests by their file.
type manifestTexts map[string]string

// edit is a manifest with its text as it is and as it will be.
type edit struct {
	file          string
	before, after []byte
}

// editManifests returns the manifests, edited so that they have other ports.
func (a *app) editManifests(ports ofManifests) ([]edit, error) {
	var all []edit
	var failures []error
	bounds := a.writeBounds()
	for _, file := range slices.Sorted(maps.Keys(ports)) {
		if err := a.refuseRelative(file); err != nil {
			return nil, err
		}
		if err := replaceable(file); err != nil {
			failures = append(failures, usageError(fmt.Errorf("%s: %w", report.Safe(file), err), ""))
			continue
		}
		before, after, problems := config.SetPorts(file, ports[file], bounds)
		for _, p := range problems {
			failures = append(failures, usageError(p, ""))
		}
		if len(problems) == 0 {
			all = append(all, edit{file, before, after})
		}
	}
	return all, joinFailures(failures...)
}

// replaceable returns an error for what --write does not replace. A file with several
// hard links would have to be written in place, where a full disk or a crash leaves half
// of a manifest; replaced, its other names would silently keep the old ports.
func replaceable(file string) error {
	info, err := os.Lstat(file)
	switch {
	case err != nil:
		return nil // which the read reports
	case !info.Mode().IsRegular():
		return errors.New("--write changes regular files alone: name the file that the link leads to")
	case linksOf(info) > 1:
		return fmt.Errorf("--write replaces a manifest by a new file, and this one has %d names (hard links), of which the others would keep the old ports: make it a file of its own (`cp FILE NEW && mv NEW FILE`), or write the ports to another file with -o", linksOf(info))
	}
	return nil
}

// writeManifests writes the ports of an assignment into the manifests of its needs, if
// all of them can hold theirs, and none has another text than mayWrite has seen.
func (a *app) writeManifests(ctx context.Context, assignment check.Assignment, texts manifestTexts, quiet bool) error {
	ports := ofManifests{}
	for _, p := range assignment.Ports {
		r := port.Range{First: p.Port, Last: max(p.Port, p.PortLast)}
		if other, ok := ports[p.Source.File][p.Source]; ok && other != r {
			return unknownError(config.Problem{Position: p.Source, Message: fmt.Sprintf("%s has port %s on one target and %s on another, which one manifest can't hold: nothing is written", report.Safe(p.Name), other, r)})
		}
		ports.add(p.Source, r)
	}
	var locked []*replacement
	defer func() {
		for _, r := range locked {
			r.close()
		}
	}()
	byFile := map[string]*replacement{}
	// All runs lock in one order, so that none waits for another that waits for it.
	files := slices.SortedFunc(maps.Keys(ports), func(a, b string) int { return cmp.Compare(realPath(a), realPath(b)) })
	for _, file := range files {
		r, err := openReplacement(ctx, file, a.writeBounds())
		if err != nil {
			return manifestFailure(file, err)
		}
		locked, byFile[file] = append(locked, r), r
	}
	edits, err := a.editManifests(ports)
	if err != nil {
		return err
	}
	for _, e := range edits {
		if string(e.before) != texts[e.file] {
			return unknownError(fmt.Errorf("%s was edited while the ports were chosen, so no manifest is written: run the command again, which gives the same ports", report.Safe(e.file)))
		}
	}
	edits = slices.DeleteFunc(edits, func(e edit) bool { return string(e.before) == string(e.after) })
	for _, e := range edits {
		var before []byte
		if len(edits) > 1 {
			before = e.before
		}
		if err := byFile[e.file].stage(e.after, before); err != nil {
			return manifestFailure(e.file, err)
		}
	}
	for i, e := range edits {
		if err := byFile[e.file].commit(); err != nil {
			failures := []error{manifestFailure(e.file, err)}
			for _, before := range edits[:i] {
				if err := byFile[before.file].undo(); err != nil {
					failures = append(failures, unknownError(fmt.Errorf("%s has the new ports, and its old ones can't be brought back: %w", report.Safe(before.file), withoutPath(err))))
				}
			}
			return joinFailures(failures...)
		}
	}
	if !quiet {
		for _, e := range edits {
			a.logf("wrote the ports to %s", report.Safe(e.file))
		}
	}
	return nil
}
