//go:build linux && !filelocks

package lease

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// jobRetry is the time between tries while a lock is about to listen or to end.
const jobRetry = time.Millisecond

// lockJob is LockJob. The lock is an abstract socket, which sends its token to those that
// connect. Their connections end with it.
func lockJob(ctx context.Context, job, token string, deadline time.Time) (unlock func(), pid int, ok bool) {
	name := fmt.Sprintf("%sjob/%d/%s", lockPrefix, os.Geteuid(), jobHash(job))
	for doubtful := time.Now().Add(doubtTime); ; {
		l, err := net.Listen("unix", "@"+name[1:])
		if err == nil {
			return serveJob(l, token), 0, true
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, 0, true // no request can have it, and the keeper says what is wrong
		}
		owner := 0
		fd, err := connect(name)
		if err == nil {
			owner, pid, ok = awaitJob(fd, token, deadline)
			unix.Close(fd)
		}
		switch {
		case ok, owner != 0 && owner != os.Geteuid():
			return nil, 0, true
		case err != nil && time.Now().After(doubtful):
			return nil, 0, true // another user may have the name, without an answer
		case ctx.Err() != nil || !time.Now().Before(deadline):
			return nil, pid, false
		case err != nil:
			time.Sleep(jobRetry)
		}
	}
}

// mostWaiting is how many connections a lock has at the same time: anybody may connect.
const mostWaiting = 128

// serveJob answers those that wait for a lock until it ends.
func serveJob(l net.Listener, token string) (unlock func()) {
	var mu sync.Mutex
	var waiting []net.Conn
	ended := false
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				time.Sleep(jobRetry) // such as no descriptors
				continue
			}
			_, _ = c.Write([]byte(token + "\n")) // it fits in the socket's buffer, or c is gone
			mu.Lock()
			if len(waiting) == mostWaiting { // the first one, if it still waits, connects again
				waiting[0].Close()
				waiting = slices.Delete(waiting, 0, 1)
			}
			if ended {
				c.Close()
			} else {
				waiting = append(waiting, c)
			}
			mu.Unlock()
		}
	}()
	return func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		ended = true
		for _, c := range waiting {
			c.Close()
		}
	}
}

// awaitJob waits for the end of a lock of this user, to which fd is connected. It returns
// its user and process, and reports whether it has the token.
func awaitJob(fd int, token string, deadline time.Time) (uid, pid int, own bool) {
	pid, uid, err := peerOf(fd)
	if err != nil || uid != 0 && uid != os.Geteuid() {
		return uid, pid, false
	}
	if line, ok := readLine(fd, deadline); ok && string(line) == token {
		return uid, pid, true
	}
	await(fd, unix.POLLIN, deadline) // no event but the end: it sends nothing more
	return uid, pid, false
}
