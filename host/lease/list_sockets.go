//go:build linux && !filelocks

package lease

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/org/portcheck/port"
)

// List returns every leased port of this network namespace, by protocol and number.
// What its keepers do not say by the deadline is zero.
func List(deadline time.Time) ([]Held, error) { return list(-1, deadline) }

// ListOwn returns the leased ports of this process's user. Other users can't delay it.
func ListOwn(deadline time.Time) ([]Held, error) { return list(os.Geteuid(), deadline) }

func list(uid int, deadline time.Time) ([]Held, error) {
	names, err := listNames()
	if err != nil {
		return nil, err
	}
	// A socket of a file can have the same name in the list, so the locks are asked, those
	// of this user first: strangers that do not answer take no time from them.
	own, err := lookAll(names, os.Geteuid(), deadline)
	if uid >= 0 {
		return own, err
	}
	others := slices.DeleteFunc(names, func(h Held) bool {
		_, found := slices.BinarySearchFunc(own, h, byNumber)
		return found
	})
	all, err := lookAll(others, -1, deadline)
	all = append(all, own...)
	slices.SortFunc(all, byNumber)
	return all, err
}

// listNames returns the ports of which the kernel lists a lock.
func listNames() ([]Held, error) {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return nil, withRemedy(err)
	}
	defer f.Close()
	return listening(f)
}

// listening returns the ports that /proc/net/unix, read from r, has listening locks
// of. Its columns are Num RefCount Protocol Flags Type St Inode Path. The flag of a
// socket that listens is __SO_ACCEPTCON, and the NUL of an abstract name is an @.
func listening(r io.Reader) ([]Held, error) {
	var all []Held
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		fields := bytes.Fields(line)
		if len(fields) == 8 && string(fields[3]) == "00010000" {
			if h, ok := parseLock(string(fields[7])); ok {
				all = append(all, h)
			}
		}
		if err != nil {
			break
		}
	}
	slices.SortFunc(all, byNumber)
	return slices.Compact(all), nil
}

// parseLock parses "@portcheck/1/tcp/8080".
func parseLock(name string) (Held, bool) {
	rest, ours := strings.CutPrefix(name, "@"+strings.TrimPrefix(lockPrefix, "\x00"))
	protocol, number, _ := strings.Cut(rest, "/")
	n, err := port.ParseNumber(number)
	if !ours || err != nil || !slices.Contains(port.Protocols, port.Protocol(protocol)) {
		return Held{}, false
	}
	return Held{Protocol: port.Protocol(protocol), Port: n}, true
}
