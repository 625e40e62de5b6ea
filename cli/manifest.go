package cli

import (
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
func (a *app) mayWrite(needs []check.Need, o *assignOptions) (manifestTexts, error) {
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
	texts := manifestTexts{}
	for _, e := range edits {
		texts[e.file] = string(e.before)
	}
	return texts, err
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
		if info, err := os.Lstat(file); err == nil && !info.Mode().IsRegular() {
			failures = append(failures, usageError(fmt.Errorf("%s: --write changes regular files alone: name the file that the link leads to", report.Safe(file)), ""))
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

// writeManifests writes the ports of an assignment into the manifests of its needs, if
// all of them can hold theirs, and none has another text than mayWrite has seen.
func (a *app) writeManifests(assignment check.Assignment, texts manifestTexts, quiet bool) error {
	ports := ofManifests{}
	for _, p := range assignment.Ports {
		r := port.Range{First: p.Port, Last: max(p.Port, p.PortLast)}
		if other, ok := ports[p.Source.File][p.Source]; ok && other != r {
			return unknownError(config.Problem{Position: p.Source, Message: fmt.Sprintf("%s has port %s on one target and %s on another, which one manifest can't hold: nothing is written", report.Safe(p.Name), other, r)})
		}
		ports.add(p.Source, r)
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
	var failures []error
	for _, e := range edits {
		if string(e.before) == string(e.after) {
			continue
		}
		if err := rewriteFile(e.file, e.after, a.writeBounds()); err != nil {
			failures = append(failures, writeFailure("the ports in "+report.Safe(e.file), withoutPath(err)))
		} else if !quiet {
			a.logf("wrote the ports to %s", report.Safe(e.file))
		}
	}
	return joinFailures(failures...)
}
