//go:build linux && !filelocks

package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mostClients = 32          // clients of a keeper at the same time
	clientTime  = time.Second // how long a client may take
	pollerFiles = 2           // descriptors of Go's poller
	// spareFiles are descriptors that a keeper has left for clients: one more connects before
	// the oldest has to go, and one file is read to know who it is.
	spareFiles = mostClients + 2
)

// keeper holds the ports of one lease and answers about it.
type keeper struct {
	hold
	request Request
	since   time.Time
	// begun and ends are when the lease begins and ends, as sinceBoot says it.
	begun, ends time.Duration
	poll        int            // the epoll descriptor
	wake        int            // an event that ends the wait
	spare       []int          // descriptors that are kept for clients while ports are taken
	until       int32          // the pidfd of the process with which the lease ends
	byFD        map[int32]lock // the locks
	clients     map[int32]client
}

type client struct {
	since time.Time
	sent  []byte
}

// prepare makes what the keeper waits with.
func (k *keeper) prepare() error {
	k.byFD, k.clients = map[int32]lock{}, map[int32]client{}
	var err error
	if k.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return withRemedy(err)
	}
	if k.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return withRemedy(err)
	}
	if err := k.watch(k.wake); err != nil {
		return err
	}
	// Go opens its poller at the first sleep, and ends the program if it can't.
	if err := k.reserve(pollerFiles); err != nil {
		return err
	}
	k.closeSpare()
	time.Sleep(time.Nanosecond)
	if err := k.reserve(spareFiles); err != nil {
		return err
	}
	pid := k.request.UntilExit
	if pid == 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("process %d can't be watched: %w", pid, err)
	}
	k.until = int32(fd)
	return k.watch(fd)
}

// reserve makes descriptors that serve nothing, so that there are some later.
func (k *keeper) reserve(count int) error {
	for range count {
		fd, err := unix.FcntlInt(uintptr(k.wake), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("the lease can't be served: %w", withRemedy(err))
		}
		k.spare = append(k.spare, fd)
	}
	return nil
}

func (k *keeper) closeSpare() {
	for _, fd := range k.spare {
		unix.Close(fd)
	}
	k.spare = nil
}

// publish makes the locks a lease: they listen.
func (k *keeper) publish() error {
	for _, l := range k.locks {
		if err := unix.Listen(l.fd, 128); err != nil {
			return err
		}
		k.byFD[int32(l.fd)] = l
		if err := k.watch(l.fd); err != nil {
			return err
		}
	}
	k.closeSpare()
	return nil
}

func (k *keeper) watch(fd int) error {
	return unix.EpollCtl(k.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// serve answers clients until the lease ends.
func (k *keeper) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _, _ = unix.Write(k.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
	defer stop()
	events := make([]unix.EpollEvent, 16)
	for {
		left := k.left()
		if left <= 0 {
			return nil
		}
		for fd, c := range k.clients {
			if time.Since(c.since) >= clientTime {
				k.drop(fd)
				continue
			}
			left = min(left, clientTime-time.Since(c.since))
		}
		n, err := unix.EpollWait(k.poll, events, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			if l, ours := k.byFD[e.Fd]; ours {
				k.accept(l)
			} else if _, ours := k.clients[e.Fd]; ours {
				if k.read(e.Fd) {
					return nil
				}
			} else if e.Fd == int32(k.wake) || e.Fd == k.until && k.until > 0 {
				return nil
			} // else it is of a client that had to go
		}
	}
}

func (k *keeper) drop(fd int32) {
	delete(k.clients, fd)
	unix.Close(int(fd))
}

// accept sends a new client the line about the lease. If there are too many clients,
// the oldest has to go.
func (k *keeper) accept(l lock) {
	fd, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		if !errors.Is(err, unix.EAGAIN) {
			time.Sleep(time.Millisecond) // such as no descriptors: the client waits
		}
		return
	}
	for len(k.clients) >= mostClients {
		oldest := int32(-1)
		for other, c := range k.clients {
			if oldest < 0 || c.since.Before(k.clients[oldest].since) {
				oldest = other
			}
		}
		k.drop(oldest)
	}
	said, err := line(k.leaseOf(l))
	if err == nil {
		_, err = unix.SendmsgN(fd, said, nil, nil, unix.MSG_NOSIGNAL)
	}
	if err == nil {
		err = k.watch(fd)
	}
	if err != nil {
		unix.Close(fd)
		return
	}
	k.clients[int32(fd)] = client{since: time.Now()}
}

// read reads from a client, and reports whether the lease has to end.
func (k *keeper) read(fd int32) bool {
	c := k.clients[fd]
	buffer := make([]byte, mostLine)
	n, err := unix.Read(int(fd), buffer)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return false
	}
	c.sent = append(c.sent, buffer[:max(n, 0)]...)
	if n <= 0 || len(c.sent) > mostLine {
		k.drop(fd)
		return false
	}
	k.clients[fd] = c
	if c.sent[len(c.sent)-1] != '\n' {
		return false
	}
	defer k.drop(fd)
	var ask struct{ Release bool }
	if json.Unmarshal(c.sent, &ask) != nil || !ask.Release {
		return false
	}
	_, uid, err := peerOf(int(fd))
	if err != nil || uid != 0 && uid != os.Geteuid() {
		return false
	}
	k.back(mark{}) // the ports are free before the client is told so
	_, _ = unix.SendmsgN(int(fd), []byte(releaseReply), nil, nil, unix.MSG_NOSIGNAL)
	return true
}
