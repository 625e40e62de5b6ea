package cli

import (
	"os"

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

// workTree returns the root of the git work tree that contains a directory, else the
// directory.
func workTree(dir string) string {
	if root := within.Repository(dir); root != "" {
		return root
	}
	return dir
}
