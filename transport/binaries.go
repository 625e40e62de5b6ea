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
	"math"
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
	f, err := b.open(s)
	if err != nil {
		return nil, err
	}
	bin := &binary{
		hash:   sync.OnceValues(func() (string, error) { return hashOf(whole(f)) }),
		packed: sync.OnceValues(func() ([]byte, error) { return pack(whole(f)) }),
	}
	if b.found == nil {
		b.found = map[system]*binary{}
	}
	b.found[s] = bin
	return bin, nil
}

// open opens the executable for a system. It stays open until the process ends, so
// that what is sent is what was examined.
func (b *binaries) open(s system) (*os.File, error) {
	own, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("portcheck can't find its own executable: %w", err)
	}
	if s == (system{runtime.GOOS, runtime.GOARCH}) {
		if s.os == "linux" {
			own = "/proc/self/exe" // also after the file was replaced or removed
		}
		return os.Open(own)
	}
	dir := b.dir
	if dir == "" {
		dir = filepath.Join(filepath.Dir(own), "..", "lib", "portcheck")
	}
	name := filepath.Join(dir, "portcheck-"+s.os+"-"+s.arch)
	f, err := openWithin(dir, name)
	if err == nil {
		if err = isPortcheck(f); err != nil {
			_ = f.Close() // nothing was written
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
	return f, nil
}

// openWithin opens a regular file of a directory. A link that leads out of it could
// have been made by somebody who may not read where it leads.
func openWithin(dir, name string) (*os.File, error) {
	bound, err := within.New(dir)
	if err != nil {
		return nil, err
	}
	f, err := within.OpenRegular(name, []within.Dir{bound})
	return f.File, err
}

var errNotOurs = errors.New("is not a portcheck")

// isPortcheck returns an error unless a file contains the build information of a portcheck.
// Nothing else is sent to a host, whatever its name is.
// Source: the format of runtime/debug.BuildInfo.String, which the linker embeds.
func isPortcheck(f *os.File) error {
	const most = 256 << 20
	content, err := io.ReadAll(io.LimitReader(whole(f), most))
	if err != nil {
		return err
	}
	if !bytes.Contains(content, []byte("path\tgithub.com/org/portcheck\n")) {
		return errNotOurs
	}
	return nil
}

// whole returns a reader of a file from its start.
func whole(f *os.File) io.Reader { return io.NewSectionReader(f, 0, math.MaxInt64) }

func hashOf(r io.Reader) (string, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// packLevel is the gzip level: half the time of the default, two percent more
// data.
const packLevel = 4

func pack(r io.Reader) ([]byte, error) {
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
