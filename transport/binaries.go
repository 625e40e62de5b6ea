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
	name, err := b.file(s)
	if err != nil {
		return nil, err
	}
	bin := &binary{
		hash:   sync.OnceValues(func() (string, error) { return hashOf(name) }),
		packed: sync.OnceValues(func() ([]byte, error) { return pack(name) }),
	}
	if b.found == nil {
		b.found = map[system]*binary{}
	}
	b.found[s] = bin
	return bin, nil
}

// file returns the path of the executable for a system.
func (b *binaries) file(s system) (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("portcheck can't find its own executable: %w", err)
	}
	if s == (system{runtime.GOOS, runtime.GOARCH}) {
		if s.os == "linux" {
			own = "/proc/self/exe" // also after the file was replaced or removed
		}
		return own, nil
	}
	dir := b.dir
	if dir == "" {
		dir = filepath.Join(filepath.Dir(own), "..", "lib", "portcheck")
	}
	name := filepath.Join(dir, "portcheck-"+s.os+"-"+s.arch)
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("there is no portcheck executable for %s in %s (--agent-dir)", s, dir)
	case err != nil:
		return "", fmt.Errorf("the portcheck executable for %s (--agent-dir): %w", s, err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("the portcheck executable for %s (--agent-dir): %s is not a regular file", s, name)
	}
	return name, nil
}

func hashOf(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// packLevel is the gzip level: half the time of the default, two percent more
// data.
const packLevel = 4

func pack(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, packLevel)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, f); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return bytes.Clone(packed.Bytes()), nil // the buffer's capacity is up to twice its length
}
