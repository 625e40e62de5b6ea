package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

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

// provenOurs returns nil if the created container id, when it is started, executes
// a file with the content of our own executable. A label proves nothing, since
// every image can have it.
func provenOurs(ctx context.Context, e *engine.Engine, id, image string) error {
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
	own, err := os.Open("/proc/self/exe") // also after the file was replaced or removed
	if err != nil {
		return err
	}
	defer own.Close()
	info, err := own.Stat()
	if err != nil {
		return err
	}
	same := stat.Size == info.Size()
	if same {
		same, err = sameContent(own, content)
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
