package transport

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime/debug"

	"github.com/org/portcheck/transport/internal/engine"
)

// helperPath is the path of portcheck in its images. A helper executes it.
const helperPath = "/usr/local/bin/portcheck"

// foreignError is why a created container, or the image for it, is not started as
// a helper.
type foreignError struct{ image, reason string }

func (f foreignError) Error() string {
	return fmt.Sprintf("the image %s has portcheck's label, but %s, so it is not trusted with the machine's processes: "+
		"start portcheck unchanged from its own image, and not in the network of another container (--network container:NAME, network_mode: service:NAME)", f.image, f.reason)
}

// openProgram opens the executable of this process, so that a helper's is compared
// with it. It refuses one that does not decide alone what runs: a helper's image has
// the loader and the libraries as well.
func openProgram(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := runsAlone(file); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func runsAlone(file *os.File) error {
	program, err := elf.NewFile(file)
	if err != nil {
		return fmt.Errorf("this portcheck's executable can't be read: %w", err)
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("this portcheck is linked dynamically, so the libraries of an image decide what it does: build it with CGO_ENABLED=0, or use portcheck's own image")
		}
	}
	// A loader or an emulator that was started with portcheck as its argument would
	// execute another file in the helper.
	running, ok := debug.ReadBuildInfo()
	built, err := buildinfo.Read(file)
	if err != nil || !ok || built.String() != running.String() {
		return errors.New("the executable of this process is not portcheck, but a program that loads it: start portcheck by itself")
	}
	return nil
}

// provenOurs returns nil if the created container id, when it is started, executes
// a file with the content of our own executable. A label proves nothing, since
// every image can have it.
func provenOurs(ctx context.Context, e *engine.Engine, id, image string, own *os.File) error {
	// Through a link the container could execute a file that is not there yet, such
	// as one below /proc. File detects a link in the last place.
	for dir := path.Dir(helperPath); dir != "/"; dir = path.Dir(dir) {
		stat, err := e.Stat(ctx, id, dir)
		switch {
		case engine.IsNotFound(err):
			return foreignError{image, "it has no " + dir}
		case err != nil:
			return notShown(err)
		case !stat.Mode.IsDir() || stat.LinkTarget != "":
			return foreignError{image, dir + " is not a directory in it"}
		}
	}
	stat, content, err := e.File(ctx, id, helperPath)
	switch {
	case engine.IsNotFound(err):
		return foreignError{image, "it has no " + helperPath}
	case errors.Is(err, engine.ErrNotRegular):
		return foreignError{image, helperPath + " is not a regular file in it"}
	case err != nil:
		return notShown(err)
	}
	defer content.Close()
	info, err := own.Stat()
	if err != nil {
		return err
	}
	same := stat.Size == info.Size()
	if same {
		same, err = sameContent(io.NewSectionReader(own, 0, info.Size()), content)
	}
	switch {
	case err != nil:
		return notShown(err)
	case !same:
		return foreignError{image, "its " + helperPath + " is another program than the portcheck that runs here"}
	}
	return nil
}

// notShown returns the error for an engine that does not show a file. It is not a
// Refusal of the container, which could be created with fewer rights.
func notShown(err error) error {
	if errors.As(err, new(*engine.Refusal)) {
		return fmt.Errorf("the image can't be compared with this portcheck: %s", err)
	}
	return fmt.Errorf("the image can't be compared with this portcheck: %w", err)
}

// sameContent reports whether other, which has at least the size of own, begins
// with the content of own.
func sameContent(own, other io.Reader) (bool, error) {
	var a, b [64 << 10]byte
	for {
		n, err := own.Read(a[:])
		if _, failed := io.ReadFull(other, b[:n]); failed != nil {
			return false, failed
		}
		switch {
		case !bytes.Equal(a[:n], b[:n]):
			return false, nil
		case err == io.EOF:
			return true, nil
		case err != nil:
			return false, err
		}
	}
}
