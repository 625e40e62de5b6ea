//go:build !linux || filelocks

package lease

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/org/portcheck/port"
)

// The lock of a port is a file. Its first mostLine bytes are what the keeper says. Two of
// its bytes are locked, so that whoever only looks is in nobody's way: keepers compete for
// the first one, and the second shows that there is a lease. The locks are gone with their
// process, and the files stay: to remove one would make two of it for those that have it
// open.
const (
	heldByte   = 4096
	leasedByte = heldByte + 1
	mutexFile  = "assign"
)

// directory returns the directory of this user's locks.
func directory() string {
	name := "portcheck"
	if uid := os.Geteuid(); uid >= 0 {
		name += "-" + strconv.Itoa(uid)
	}
	return filepath.Join(os.TempDir(), name)
}

// openDirectory opens a directory of locks. It has to be this user's own, and no link.
func openDirectory(path string) (*os.Root, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	info, err := root.Stat(".")
	if err == nil && (!before.IsDir() || !os.SameFile(before, info)) {
		err = errors.New("it is no directory")
	}
	if err == nil {
		err = private(path, info)
	}
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("%s can't have the locks of leased ports: %w; remove it, or set another directory for temporary files", path, err)
	}
	return root, nil
}

// makeDirectory is openDirectory for one that need not exist yet.
func makeDirectory(path string) (*os.Root, error) {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return openDirectory(path)
}

func fileName(protocol port.Protocol, n uint16) string { return fmt.Sprintf("%s-%d", protocol, n) }

// parseFileName parses "tcp-8080".
func parseFileName(name string) (Held, bool) {
	protocol, number, _ := strings.Cut(name, "-")
	n, err := port.ParseNumber(number)
	if err != nil || !slices.Contains(port.Protocols, port.Protocol(protocol)) {
		return Held{}, false
	}
	return Held{Protocol: port.Protocol(protocol), Port: n}, true
}

// openLock opens the file of a lock, which must not be a link.
func openLock(root *os.Root, name string, flags int) (*os.File, error) {
	f, err := root.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		var named fs.FileInfo
		if named, err = root.Lstat(name); err == nil && (!named.Mode().IsRegular() || !os.SameFile(named, info)) {
			err = fmt.Errorf("%s is no regular file", name)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// handle is a file of which this process has locked the heldByte.
type handle struct{ *os.File }

func (h handle) close() { h.Close() }

// place is the directory of the locks.
type place struct{ root *os.Root }

// lock takes the lock of a port. It is no lease until its leasedByte is locked, too.
func (p place) lock(protocol port.Protocol, n uint16) (handle, error) {
	f, err := openLock(p.root, fileName(protocol, n), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return handle{}, err
	}
	err = lockByte(f, heldByte)
	if err == nil {
		return handle{f}, nil
	}
	if errors.Is(err, errTaken) {
		if leased, failed := byteLocked(f, leasedByte); !leased && failed == nil {
			err = errDoubtful
		}
	}
	f.Close()
	return handle{}, err
}

// lockMutex waits until no other request is in its second pass.
func (p place) lockMutex(ctx context.Context, deadline time.Time) (unlock func(), ok bool) {
	f, err := openLock(p.root, mutexFile, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, false
	}
	for time.Now().Before(deadline) && ctx.Err() == nil {
		if err := lockByte(f, heldByte); err == nil {
			return handle{f}.close, true
		} else if !errors.Is(err, errTaken) {
			break
		}
		time.Sleep(2 * time.Millisecond) // a wait for the lock can't be ended
	}
	f.Close()
	return nil, false
}

// written is what the file of a lease has.
type written struct {
	Lease
	Keeper int `json:"pid"`
}

// LookAll returns those of the ports that are leased to this user, with their leases.
// There is nobody to wait for.
func LookAll(ports []Held, _ time.Time) ([]Held, error) {
	all := []Held{}
	root, err := openDirectory(directory())
	if err != nil {
		return all, nil // nothing is leased, or not to this user
	}
	defer root.Close()
	for _, h := range ports {
		if leased := look(root, &h); leased {
			all = append(all, h)
		}
	}
	return all, nil
}

// look reports whether a port is leased, and fills in what its file says.
func look(root *os.Root, h *Held) bool {
	f, err := openLock(root, fileName(h.Protocol, h.Port), os.O_RDONLY)
	if err != nil {
		return false
	}
	defer f.Close()
	if leased, err := byteLocked(f, leasedByte); !leased && err == nil {
		return false
	}
	h.Lease = Lease{UID: os.Geteuid()}
	text, err := io.ReadAll(io.LimitReader(f, mostLine))
	line, _, found := bytes.Cut(text, []byte("\n"))
	var told written
	if err == nil && found && json.Unmarshal(line, &told) == nil {
		h.describe(told.Lease)
		h.PID = max(told.Keeper, 0)
	}
	return true
}

// List returns every leased port of this user, by protocol and number.
func List(deadline time.Time) ([]Held, error) {
	root, err := openDirectory(directory())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var all []Held
	for _, e := range entries {
		if h, ok := parseFileName(e.Name()); ok {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, byNumber)
	return LookAll(all, deadline)
}

// ListOwn is List: there are no leases of others.
func ListOwn(deadline time.Time) ([]Held, error) { return List(deadline) }

// Release ends the keeper of a port, and reports whether the port is free again by the
// deadline.
func Release(protocol port.Protocol, n uint16, deadline time.Time) bool {
	first, leased := Look(protocol, n, deadline)
	if !leased || first.PID <= 0 {
		return false
	}
	keeper, err := os.FindProcess(first.PID)
	if err != nil {
		return false
	}
	defer func() { _ = keeper.Release() }() // always nil
	// As long as the process is open, no other one gets its number, where the system can
	// do that. So it is the keeper if that has the lock still.
	if now, leased := Look(protocol, n, deadline); !leased || now.PID != first.PID {
		return !leased
	}
	if err := keeper.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return false
	}
	for time.Now().Before(deadline) {
		if _, leased := Look(protocol, n, deadline); !leased {
			// Its sockets are closed after its files. If nobody waits for its end, it stays.
			for i := 0; i < 20 && !ended(first.PID); i++ {
				time.Sleep(time.Millisecond)
			}
			return true
		}
		time.Sleep(time.Millisecond) // it is no child of this process
	}
	return false
}
