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

// agents are the executables of portcheck that can be sent to a host, each read
// once however many hosts there are.
type agents struct {
	dir   string // of those for other systems; empty: beside our own
	mu    sync.Mutex
	known map[system]*agent
}

// system is an operating system and an architecture as Go names them.
type system struct{ os, arch string }

func (s system) String() string { return s.os + "/" + s.arch }

// isPlain says whether its names can be names of systems. A host could tell any
// text, and have a path to any file of ours for it.
func (s system) isPlain() bool {
	return !strings.ContainsFunc(s.os+s.arch, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' })
}

// agent is one executable.
type agent struct {
	// hash is the SHA-256 of its content, in hex.
	hash func() (string, error)
	// packed is its content, compressed by gzip.
	packed func() ([]byte, error)
}

// find returns the executable for a system. The error says that there is none.
func (a *agents) find(s system) (*agent, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if found := a.known[s]; found != nil {
		return found, nil
	}
	switch {
	case !s.isPlain():
		return nil, fmt.Errorf("there is no portcheck for a system named %.80q", s)
	case s.os == "" || s.arch == "":
		return nil, errors.New("it does not tell what system it is: uname does not run there")
	}
	name, err := a.file(s)
	if err != nil {
		return nil, err
	}
	found := &agent{
		hash:   sync.OnceValues(func() (string, error) { return hashOf(name) }),
		packed: sync.OnceValues(func() ([]byte, error) { return pack(name) }),
	}
	if a.known == nil {
		a.known = map[system]*agent{}
	}
	a.known[s] = found
	return found, nil
}

// file is where the executable for a system is.
func (a *agents) file(s system) (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("portcheck can't find its own executable: %w", err)
	}
	if s == (system{runtime.GOOS, runtime.GOARCH}) {
		if s.os == "linux" {
			own = "/proc/self/exe" // whatever has become of the file since we were started
		}
		return own, nil
	}
	dir := a.dir
	if dir == "" {
		dir = filepath.Join(filepath.Dir(own), "..", "lib", "portcheck")
	}
	name := filepath.Join(dir, "portcheck-"+s.os+"-"+s.arch)
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("there is no portcheck for %s in %s (--agent-dir)", s, dir)
	case err != nil:
		return "", fmt.Errorf("the portcheck for %s (--agent-dir): %w", s, err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("the portcheck for %s (--agent-dir): %s is no file", s, name)
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

// packLevel takes half the time of gzip's default for two percent more to send.
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
	return bytes.Clone(packed.Bytes()), nil // the buffer has up to twice the room
}
