//go:build unix && !linux

package lease

import (
	"errors"

	"golang.org/x/sys/unix"
)

// watchExit returns a channel that is closed when a process ends.
func watchExit(pid int) (<-chan struct{}, error) {
	queue, err := unix.Kqueue()
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(queue)
	watch := make([]unix.Kevent_t, 1)
	unix.SetKevent(&watch[0], pid, unix.EVFILT_PROC, unix.EV_ADD)
	watch[0].Fflags = unix.NOTE_EXIT
	if _, err := unix.Kevent(queue, watch, nil, nil); err != nil {
		unix.Close(queue)
		return nil, err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		for {
			if _, err := unix.Kevent(queue, nil, watch, nil); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return exited, nil
}
