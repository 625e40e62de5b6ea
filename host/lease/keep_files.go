//go:build !linux || filelocks

package lease

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// confirmTime limits how long a keeper waits for those that look at its lock.
const confirmTime = time.Second

// keeper holds the ports of one lease.
type keeper struct {
	hold
	request Request
	since   time.Time
	// begun and ends are when the lease begins and ends, as sinceBoot says it.
	begun, ends time.Duration
	exited      <-chan struct{} // closed at the end of the process with which the lease ends
}

// prepare opens the directory of the locks.
func (k *keeper) prepare() error {
	time.Sleep(time.Nanosecond) // Go opens its poller then, and ends the program if it can't later
	if k.request.Directory == "" {
		k.request.Directory = directory()
	}
	var err error
	if k.root, err = makeDirectory(k.request.Directory); err != nil {
		return err
	}
	if pid := k.request.UntilExit; pid != 0 {
		if k.exited, err = watchExit(pid); err != nil {
			return fmt.Errorf("process %d can't be watched: %w", pid, err)
		}
	}
	return nil
}

// publish makes the locks a lease.
func (k *keeper) publish() error {
	for _, l := range k.locks {
		if err := k.publishOne(l); err != nil {
			return err
		}
	}
	return nil
}

func (k *keeper) publishOne(l lock) error {
	said, err := line(written{k.leaseOf(l), os.Getpid()})
	if err != nil {
		return err
	}
	if _, err := l.WriteAt(said, 0); err != nil {
		return err
	}
	for deadline := time.Now().Add(confirmTime); ; {
		err := lockByte(l.File, leasedByte)
		if !errors.Is(err, errTaken) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(time.Millisecond) // on Windows, one that looks has it for a moment
	}
}

// serve holds the ports until the lease ends.
func (k *keeper) serve(ctx context.Context) error {
	defer k.back(mark{})
	for {
		left := k.left()
		if left <= 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-k.exited:
			return nil
		case now := <-time.After(left):
			for _, l := range k.locks { // systems remove temporary files that look old
				_ = k.root.Chtimes(fileName(l.protocol, l.port), now, now) // its lock holds all the same
			}
		}
	}
}
