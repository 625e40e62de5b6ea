package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/internal/within"
)

// readBounds returns the directories out of which links must not lead to a file that
// is read. Outside of CI there are none, since people share files by links. In CI,
// anybody may have made a link in the checkout.
func (a *app) readBounds() []within.Dir {
	if !ci.Running(a.env) {
		return nil
	}
	return a.writeBounds()
}

// writeBounds returns the directories out of which linked directories must not lead
// to a file that is written: the job's checkout, and the git work tree of the working
// directory, else that directory.
func (a *app) writeBounds() []within.Dir {
	var bounds []within.Dir
	checkout := ci.Checkout(a.env)
	here, err := os.Getwd()
	if err != nil {
		here = "" // no file can be named relative to it
	}
	for _, dir := range []string{checkout, workTree(here)} {
		if dir == "" {
			continue
		}
		if d, err := within.New(dir); err == nil { // a variable may name a directory of another machine
			bounds = append(bounds, d)
		}
	}
	return bounds
}

// refuseToRead is refuseRelative for files that are read: outside of CI, links are
// followed.
func (a *app) refuseToRead(names ...string) error {
	if !ci.Running(a.env) {
		return nil
	}
	return a.refuseRelative(names...)
}

// refuseRelative returns an error if one of the names is relative although a link may
// have led to the working directory, out of the checkout. Whoever made that link would
// choose which files they are. The name - is a stream.
func (a *app) refuseRelative(names ...string) error {
	for _, name := range names {
		if name == "-" || filepath.IsAbs(name) {
			continue
		}
		dir, left := a.leftByWorkingDirectory()
		if !left {
			return nil
		}
		return usageError(fmt.Errorf("%q is a relative name, and the working directory is outside of %q, where a link may have led to it: use an absolute name, or run portcheck in that directory", name, dir), "")
	}
	return nil
}

// leftByWorkingDirectory returns the directory that the working directory should be in
// and is not: the job's checkout, or else the git work tree of its name. A shell may
// have resolved that name, so in a job with a checkout it does not count.
func (a *app) leftByWorkingDirectory() (within.Dir, bool) {
	if checkout := ci.Checkout(a.env); checkout != "" {
		if dir, err := within.New(checkout); err == nil { // a variable may name a directory of another machine
			_, inside := dir.Rel(".")
			return dir, !inside
		}
	}
	return within.WorkTreeLeft()
}

// workTree returns the root of the git work tree that contains a directory, else the
// directory.
func workTree(dir string) string {
	if root := within.Repository(dir); root != "" {
		return root
	}
	return dir
}
