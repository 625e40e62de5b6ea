package transport

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/org/portcheck/internal/within"
)

// binaries are the executables of portcheck that can be sent to hosts. Each is
// read once, however many hosts there are.
type binaries struct {
	dir   string // of those for other systems; if empty, beside our own
	mu    sync.Mutex
	found map[system]*binary
}

// system is an operating system and an architecture as Go names them.
type system struct{ os, arch string }

func (s system) String() string { return s.os + "/" + s.arch }

// isPlain reports whether s can be the name of a system. A host could send a
// path instead, to receive another file of ours.
func (s system) isPlain() bool {
	return !strings.ContainsFunc(s.os+s.arch, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' })
}

// binary is one executable.
type binary struct {
	hash   func() (string, error) // SHA-256 of its content, in hex
	packed func() ([]byte, error) // its content, compressed by gzip
}

// find returns the executable for a system.
func (b *binaries) find(s system) (*binary, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bin := b.found[s]; bin != nil {
		return bin, nil
	}
	switch {
	case !s.isPlain():
		return nil, fmt.Errorf("there is no portcheck executable for a system named %.80q", s)
	case s.os == "" || s.arch == "":
		return nil, errors.New("the host's system is unknown: uname does not run there")
	}
	e, err := b.open(s)
	if err != nil {
		return nil, err
	}
	bin := &binary{hash: sync.OnceValues(e.hash), packed: sync.OnceValues(e.pack)}
	if b.found == nil {
		b.found = map[system]*binary{}
	}
	b.found[s] = bin
	return bin, nil
}

// sendable is an open file with an executable.
type sendable struct {
	*os.File
	packed bool // by gzip
}

// open opens the executable for a system. It stays open until the process ends, so
// that what is sent is what was examined.
func (b *binaries) open(s system) (*sendable, error) {
	own, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("portcheck can't find its own executable: %w", err)
	}
	if s == (system{runtime.GOOS, runtime.GOARCH}) {
		if s.os == "linux" {
			own = "/proc/self/exe" // also after the file was replaced or removed
		}
		f, err := os.Open(own)
		return &sendable{File: f}, err
	}
	dir := b.dir
	if dir == "" {
		dir = filepath.Join(filepath.Dir(own), "..", "lib", "portcheck")
	}
	name := filepath.Join(dir, "portcheck-"+s.os+"-"+s.arch)
	e, err := openWithin(dir, name)
	if err == nil {
		if err = e.examine(); err != nil {
			_ = e.Close() // nothing was written
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no portcheck executable for %s in %s (--agent-dir)", s, dir)
	case errors.As(err, &within.IrregularError{}), errors.Is(err, errNotOurs):
		return nil, fmt.Errorf("the portcheck executable for %s (--agent-dir): %s %w", s, name, err)
	case err != nil:
		return nil, fmt.Errorf("the portcheck executable for %s (--agent-dir): %w", s, err)
	}
	return e, nil
}

// openWithin opens a regular file of a directory, or one of that name and .gz. A link
// that leads out of it could have been made by somebody who may not read where it
// leads.
func openWithin(dir, name string) (*sendable, error) {
	bound, err := within.New(dir)
	if err != nil {
		return nil, err
	}
	f, err := within.OpenRegular(name, []within.Dir{bound})
	if !errors.Is(err, fs.ErrNotExist) {
		return &sendable{File: f.File}, err
	}
	f, err = within.OpenRegular(name+".gz", []within.Dir{bound})
	return &sendable{f.File, true}, err
}

var errNotOurs = errors.New("is not a portcheck")

// mostOfExecutable limits what is read of a file. Ours has 12 MB.
const mostOfExecutable = 256 << 20

// content returns a reader of what is run.
func (e *sendable) content() (io.Reader, error) {
	raw := io.NewSectionReader(e.File, 0, mostOfExecutable)
	if !e.packed {
		return raw, nil
	}
	unpacked, err := gzip.NewReader(raw)
	if err != nil {
		return nil, errNotOurs
	}
	return io.LimitReader(unpacked, mostOfExecutable), nil
}

// examine returns an error unless a file contains the build information of a
// portcheck. Nothing else is sent to a host, whatever its name is.
// Source: the format of runtime/debug.BuildInfo.String, which the linker embeds.
func (e *sendable) examine() error {
	r, err := e.content()
	if err != nil {
		return err
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if !bytes.Contains(content, []byte("path\tgithub.com/org/portcheck\n")) {
		return errNotOurs
	}
	return nil
}

// hash returns the SHA-256 of what is run, in hex.
func (e *sendable) hash() (string, error) {
	r, err := e.content()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// packLevel is the gzip level: half the time of the default, two percent more
// data.
const packLevel = 4

// pack returns what is run, compressed by gzip.
func (e *sendable) pack() ([]byte, error) {
	r := io.NewSectionReader(e.File, 0, mostOfExecutable)
	if e.packed {
		return io.ReadAll(r)
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, packLevel)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, r); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return bytes.Clone(packed.Bytes()), nil // the buffer's capacity is up to twice its length
}
