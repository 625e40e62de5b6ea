//go:build linux && !filelocks

package lease

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/port"
)

const (
	lockPrefix = "\x00portcheck/1/"
	mutexName  = lockPrefix + "assign"
)

// lockName returns the name of the abstract unix socket that is the lock of a port.
// Names belong to a network namespace, exclude each other for all users, and are gone
// with their process: unix(7).
func lockName(protocol port.Protocol, n uint16) string {
	return lockPrefix + string(protocol) + "/" + strconv.Itoa(int(n))
}

// directory returns nothing: the locks are no files.
func directory() string { return "" }

func newSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, noSocket{err}
	}
	return fd, nil
}

// bindName binds a new unix socket to an abstract name. It does not listen.
func bindName(name string) (int, error) {
	fd, err := newSocket()
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// connect connects to an abstract name. It never blocks.
func connect(name string) (int, error) {
	var c connector
	defer c.close()
	return c.connect(name)
}

// connector connects to abstract names. A socket that could not connect serves the next
// name: a check asks for each of its ports, and few are leased.
type connector struct {
	fd      int
	open    bool
	address unix.SockaddrUnix
}

func (c *connector) connect(name string) (int, error) {
	if !c.open {
		fd, err := newSocket()
		if err != nil {
			return -1, err
		}
		c.fd, c.open = fd, true
	}
	c.address.Name = name
	if err := unix.Connect(c.fd, &c.address); err != nil {
		return -1, err
	}
	c.open = false
	return c.fd, nil
}

// noSocket is the error of a process that gets no socket, which says nothing of a name.
type noSocket struct{ error }

func (e noSocket) Error() string {
	text := "socket: " + withRemedy(e.error).Error()
	switch {
	case errors.Is(e.error, unix.EAFNOSUPPORT), errors.Is(e.error, unix.EPERM), errors.Is(e.error, unix.EACCES):
		return text + "; allow portcheck AF_UNIX sockets (in RestrictAddressFamilies of its unit, or in whatever else filters its system calls)"
	}
	return text
}

func (e noSocket) Unwrap() error { return e.error }

// noConnection is the error of a process that may connect to no name at all.
type noConnection struct{ error }

func (e noConnection) Error() string {
	return "connect: " + e.error.Error() + "; allow portcheck connections to abstract unix sockets in the filter or security module that denies them"
}

func (e noConnection) Unwrap() error { return e.error }

func (c *connector) close() {
	if c.open {
		unix.Close(c.fd)
		c.open = false
	}
}

// connectBefore is like connect, but waits while the backlog is full, which it is for a
// moment if many ask.
func connectBefore(name string, deadline time.Time) (int, error) {
	for {
		fd, err := connect(name)
		if !errors.Is(err, unix.EAGAIN) || !time.Now().Before(deadline) {
			return fd, err
		}
		time.Sleep(time.Millisecond) // poll knows nothing of a backlog
	}
}

// handle is a bound socket that is a lock.
type handle struct{ fd int }

func (h handle) close() { unix.Close(h.fd) }

// place is where the locks are: the names of this network namespace.
type place struct{}

// lock takes the lock of a port. It is no lease until the socket listens.
func (place) lock(protocol port.Protocol, n uint16) (handle, error) {
	name := lockName(protocol, n)
	fd, err := bindName(name)
	if !errors.Is(err, unix.EADDRINUSE) {
		return handle{fd}, err
	}
	other, err := connect(name)
	if errors.Is(err, unix.ECONNREFUSED) {
		return handle{}, errDoubtful
	}
	if err == nil {
		unix.Close(other)
	}
	return handle{}, errTaken
}

// lockMutex waits until no other request is in its second pass. A connection to its
// socket ends with that pass.
func (place) lockMutex(ctx context.Context, deadline time.Time) (unlock func(), ok bool) {
	for time.Now().Before(deadline) && ctx.Err() == nil {
		fd, err := bindName(mutexName)
		if err == nil {
			if err := unix.Listen(fd, 4096); err != nil {
				unix.Close(fd)
				return nil, false
			}
			return handle{fd}.close, true
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, false
		}
		other, err := connect(mutexName)
		if err != nil { // it is not listening yet, has ended, or its backlog is full
			time.Sleep(time.Millisecond)
			continue
		}
		await(other, unix.POLLIN, deadline) // no event but the end: it sends nothing
		unix.Close(other)
	}
	return nil, false
}

// unprivileged is the first port that every user of this network namespace may bind
// (ip_unprivileged_port_start, ip(7)).
var unprivileged = sync.OnceValue(func() int {
	return numberIn("/proc/sys/net/ipv4/ip_unprivileged_port_start", 1024)
})

// numberIn returns the number that a file of /proc has, or another one if it can't be
// read.
func numberIn(file string, otherwise int) int {
	text, err := os.ReadFile(file)
	if err != nil {
		return otherwise
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return otherwise
	}
	return n
}

// mayHold reports whether a lock counts. Anybody can bind its name, and not all may bind
// each port. A user's own locks count for that user.
func (h Held) mayHold() bool {
	return int(h.Port) >= unprivileged() || h.UID == 0 || h.UID == os.Geteuid()
}

// mostAsked is how many locks are asked at the same time. Each is a descriptor, of which
// the rest of a probe needs some.
func mostAsked() int { return int(min(max(Descriptors()/4, 1), 256)) }

// leastTime is how long at least the keepers of that many locks have for an answer,
// whatever others did before.
const leastTime = 20 * time.Millisecond

// LookAll returns those of the ports that are leased, with their leases. It waits for
// the lines of all keepers together until about the deadline: one that does not
// answer does not keep it from learning what the others say. An error says that some
// could not be asked for, such as without descriptors or without AF_UNIX. If it is Listed,
// these are returned as well.
func LookAll(ports []Held, deadline time.Time) ([]Held, error) {
	return lookAll(ports, -1, deadline)
}

// lookAll is LookAll for the leases of one user, or of all for -1. Other users' keepers
// are not waited for.
func lookAll(ports []Held, uid int, deadline time.Time) ([]Held, error) {
	all := []Held{}
	for len(ports) > 0 {
		some, n, err := lookSome(ports[:min(len(ports), mostAsked())], uid, deadline)
		all = append(all, some...)
		if n == 0 {
			some, err = lookInList(ports, err)
			if uid < 0 {
				all = append(all, some...)
			}
			return all, err
		}
		ports = ports[n:]
		if soonest := time.Now().Add(leastTime); deadline.Before(soonest) {
			deadline = soonest
		}
	}
	return all, nil
}

// lookInList returns those of the ports that can't be asked for, because of err, of which the
// kernel lists the locks. Whose they are is not known.
func lookInList(ports []Held, err error) ([]Held, error) {
	names, failed := listNames()
	if failed != nil {
		return nil, err
	}
	var all []Held
	whole := true
	for _, h := range ports {
		if _, there := slices.BinarySearchFunc(names, h, byNumber); !there {
			continue
		}
		h.Lease = Lease{UID: -1}
		if h.mayHold() {
			all = append(all, h)
		} else {
			whole = false // it counts only if root or this user holds it
		}
	}
	switch {
	case !whole:
		return all, err
	case len(all) > 0:
		return all, Listed{err}
	}
	return nil, nil
}

// lookSome asks for the first of the ports, and returns for how many. It is fewer if this
// process gets no more sockets, and none if it gets none or may not connect: err says why.
func lookSome(ports []Held, uid int, deadline time.Time) (kept []Held, done int, err error) {
	var all []Held
	var asked []int // descriptors, -1 for a full backlog
	var c connector
	defer c.close()
	for _, h := range ports {
		fd, failed := c.connect(lockName(h.Protocol, h.Port))
		if failed == unix.ECONNREFUSED { // of most ports
			done, err = done+1, failed
			continue
		}
		h.Lease = Lease{UID: -1}
		var none noSocket
		if err = failed; errors.As(err, &none) {
			break
		}
		done++
		switch {
		case errors.Is(err, unix.EAGAIN):
		case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
			if nobody, other := connect(lockPrefix + "nobody"); other == nil {
				unix.Close(nobody)
			} else if errors.Is(other, err) {
				return nil, 0, noConnection{err}
			}
			// A security module forbids the connection. It can't be known if root
			// holds the name.
			if int(h.Port) >= unprivileged() {
				all, asked = append(all, h), append(asked, -2)
			}
			continue
		case err != nil:
			continue
		}
		all, asked = append(all, h), append(asked, fd)
	}
	gone := map[int]bool{}
	read := func(i int) {
		answered := ask(asked[i], &all[i], uid, deadline)
		unix.Close(asked[i])
		if !answered {
			gone[i] = isOver(&all[i], uid, deadline)
		}
	}
	for i, fd := range asked {
		if fd >= 0 {
			read(i)
		}
	}
	for i, fd := range asked {
		if fd != -1 {
			continue
		}
		h := &all[i]
		var failed error
		if asked[i], failed = connectBefore(lockName(h.Protocol, h.Port), deadline); failed == nil {
			read(i)
		} else if errors.Is(failed, unix.ECONNREFUSED) {
			gone[i] = true
		}
	}
	kept = all[:0]
	for i, h := range all {
		if !gone[i] && h.mayHold() && (uid < 0 || h.UID == uid) {
			kept = append(kept, h)
		}
	}
	return kept, done, err
}

// isOver reports whether a lease has ended of which the keeper has closed the connection
// without an answer, as it does at its end. Another keeper may have the lock by now.
func isOver(l *Held, uid int, deadline time.Time) bool {
	const attempts = 5 // a process that is no keeper may close all connections
	for range attempts {
		fd, err := connect(lockName(l.Protocol, l.Port))
		if err != nil {
			return errors.Is(err, unix.ECONNREFUSED)
		}
		answered := ask(fd, l, uid, deadline)
		unix.Close(fd)
		if answered || time.Now().After(deadline) {
			return false
		}
		time.Sleep(time.Millisecond)
	}
	return false
}

// ask fills in what the kernel and the keeper say of a lease. Of another user than uid,
// unless that is -1, it is what the kernel says. It reports whether an answer was waited
// for to its end, and not cut off by the end of the connection.
func ask(fd int, l *Held, uid int, deadline time.Time) (answered bool) {
	if pid, peer, err := peerOf(fd); err == nil {
		l.PID, l.UID = pid, peer // of the process that called listen
	}
	if !l.mayHold() || uid >= 0 && l.UID != uid {
		return true
	}
	line, ok := readLine(fd, deadline)
	told := Lease{}
	if ok && json.Unmarshal(line, &told) == nil {
		l.describe(told)
	}
	return ok || time.Now().After(deadline)
}

// readLine reads a line of at most mostLine bytes.
func readLine(fd int, deadline time.Time) ([]byte, bool) {
	var all []byte
	buffer := make([]byte, mostLine)
	for {
		n, err := unix.Read(fd, buffer[:mostLine-len(all)])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			if !await(fd, unix.POLLIN, deadline) {
				return nil, false
			}
			continue
		case err != nil || n == 0:
			return nil, false
		}
		all = append(all, buffer[:n]...)
		if line, _, found := bytes.Cut(all, []byte("\n")); found {
			return line, true
		}
		if len(all) >= mostLine {
			return nil, false
		}
	}
}

// await waits for events of a descriptor, and reports whether one came before the
// deadline.
func await(fd int, events int16, deadline time.Time) bool {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
		if n > 0 {
			return true
		}
	}
}

// Release asks the keeper of a port to end, and reports whether it will. It waits for
// its answer until the deadline.
func Release(protocol port.Protocol, n uint16, deadline time.Time) bool {
	fd, err := connectBefore(lockName(protocol, n), deadline)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if _, ok := readLine(fd, deadline); !ok {
		return false
	}
	if _, err := unix.SendmsgN(fd, []byte(releaseRequest), nil, nil, unix.MSG_NOSIGNAL); err != nil {
		return false
	}
	line, ok := readLine(fd, deadline)
	return ok && string(line)+"\n" == releaseReply
}

const (
	releaseRequest = `{"release":true}` + "\n"
	releaseReply   = `{"released":true}` + "\n"
)
