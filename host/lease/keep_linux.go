package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mostClients = 32              // clients of a keeper at the same time
	clientTime  = time.Second     // how long a client may take
	mostRequest = 16 << 20        // bytes of a Request
	recheck     = 5 * time.Minute // a machine that was suspended has another clock than poll
)

// keeper holds the ports of one lease and answers about it.
type keeper struct {
	hold
	request Request
	since   time.Time
	poll    int            // the epoll descriptor
	until   int32          // the pidfd of the process with which the lease ends
	byFD    map[int32]lock // the locks
	clients map[int32]client
}

type client struct {
	since time.Time
	sent  []byte
}

// Keep reads a Request, takes its ports, and writes a Reply. Then it holds the ports
// until the lease ends. Both streams are of the process that started it, and are not
// used after the reply: detach is called then.
func Keep(ctx context.Context, in io.Reader, out io.Writer, detach func() error) error {
	k := &keeper{since: time.Now(), byFD: map[int32]lock{}, clients: map[int32]client{}}
	if err := json.NewDecoder(io.LimitReader(in, mostRequest)).Decode(&k.request); err != nil {
		return fmt.Errorf("the request can't be read: %w", err)
	}
	reply, err := k.begin(ctx)
	if err != nil {
		reply = Reply{Error: err.Error()}
	}
	if failed := json.NewEncoder(out).Encode(reply); err == nil {
		err = failed
	}
	if err != nil || reply.Unmet != nil {
		return err
	}
	if err := detach(); err != nil {
		return err
	}
	return k.serve(ctx)
}

// begin takes the ports and makes them a lease: their locks listen.
func (k *keeper) begin(ctx context.Context) (Reply, error) {
	for i, w := range k.request.Wants {
		if w.Length < 1 || len(w.Protocols) == 0 {
			return Reply{}, fmt.Errorf("want %d of the request has no ports", i)
		}
	}
	var err error
	if k.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return Reply{}, err
	}
	if pid := k.request.UntilExit; pid != 0 {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return Reply{}, fmt.Errorf("process %d can't be watched: %w", pid, err)
		}
		if err := k.watch(fd); err != nil {
			return Reply{}, err
		}
		k.until = int32(fd)
	}
	first, unmet, err := k.choose(ctx, k.request.Wants)
	if err != nil {
		return Reply{}, err
	}
	if unmet >= 0 {
		return Reply{Unmet: &unmet}, nil
	}
	k.taken = nil
	for _, l := range k.locks {
		if err := unix.Listen(l.fd, 128); err != nil {
			return Reply{}, err
		}
		if err := k.watch(l.fd); err != nil {
			return Reply{}, err
		}
		k.byFD[int32(l.fd)] = l
	}
	return Reply{First: first}, nil
}

func (k *keeper) watch(fd int) error {
	return unix.EpollCtl(k.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// serve answers clients until the lease ends.
func (k *keeper) serve(ctx context.Context) error {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return err
	}
	if err := k.watch(wake); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
	defer stop()
	events := make([]unix.EpollEvent, 16)
	for {
		now := time.Now().Round(0) // the wall clock, which goes on in suspend
		left := k.request.Expires.Sub(now)
		if left <= 0 {
			return nil
		}
		left = min(left, recheck)
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
			} else if e.Fd == int32(wake) || e.Fd == k.until && k.until > 0 {
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
	r := k.request
	line, err := Lease{ID: Name(r.ID), Job: Name(r.Job), App: Name(r.App), Name: Name(r.Wants[l.want].Name), Since: k.since, Expires: r.Expires}.line()
	if err == nil {
		_, err = unix.SendmsgN(fd, line, nil, nil, unix.MSG_NOSIGNAL)
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
	peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || peer.Uid != 0 && peer.Uid != uint32(os.Geteuid()) {
		return false
	}
	k.back(mark{}) // the ports are free before the client is told so
	_, _ = unix.SendmsgN(int(fd), []byte(releaseReply), nil, nil, unix.MSG_NOSIGNAL)
	return true
}

// Detach makes this process independent of the one that started it: its streams are
// /dev/null, and descriptors that it inherited are closed. A CI step waits for whoever
// has its stdout.
func Detach() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(null)
	for fd := range 3 {
		if err := unix.Dup3(null, fd, 0); err != nil {
			return err
		}
	}
	return nil
}

// CloseInherited closes the descriptors above stderr that this process has inherited.
// Those that it opened itself are closed on exec.
func CloseInherited() {
	var all []int
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		for _, e := range entries {
			if fd, err := strconv.Atoi(e.Name()); err == nil {
				all = append(all, fd)
			}
		}
	} else {
		for fd := range 1 << 16 {
			all = append(all, fd)
		}
	}
	for _, fd := range all {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if fd > 2 && err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
}
