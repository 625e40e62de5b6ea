package openssh

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

const (
	masterTimeout  = 10 * time.Second
	masterInterval = 10 * time.Millisecond
	socketLimit    = 80 // bytes of the path, to which ssh adds a suffix (sun_path of unix(7))
)

// share has further sessions share one connection, by a ControlMaster of our own,
// unless the user's configuration has a ControlPath. If that fails, each session is
// a connection of its own.
func (l *Link) share(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, masterTimeout)
	defer cancel()
	if l.shared || runtime.GOOS == "windows" {
		return
	}
	l.shared = true
	resolved, err := l.client.query(ctx, l.args)
	if err != nil || slices.ContainsFunc(strings.Split(string(resolved), "\n"), func(line string) bool {
		path, set := strings.CutPrefix(line, "controlpath ")
		return set && path != "none"
	}) {
		return
	}
	dir, err := os.MkdirTemp("", "portcheck-ssh-")
	if err != nil {
		return
	}
	remove := l.remove
	l.remove = func() {
		_ = os.RemoveAll(dir) // it has at most a socket
		remove()
	}
	socket := filepath.Join(dir, "s")
	if len(socket) > socketLimit {
		return
	}
	master, err := l.client.start(append([]string{"-N", "-o", "ControlMaster=yes", "-o", "ControlPersist=no", "-S", socket}, l.args...))
	if err != nil {
		return
	}
	l.sessions = append(l.sessions, master)
	tick := time.NewTicker(masterInterval)
	defer tick.Stop()
	for {
		if _, err := os.Stat(socket); err == nil {
			l.args = append([]string{"-S", socket}, l.args...)
			return
		}
		select {
		case <-tick.C:
		case <-master.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}
