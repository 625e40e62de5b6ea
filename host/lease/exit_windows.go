package lease

import "os"

// watchExit returns a channel that is closed when a process ends.
func watchExit(pid int) (<-chan struct{}, error) {
	process, err := os.FindProcess(pid)
	if err != nil {
		return nil, err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_, _ = process.Wait() // it may be no child of this process; the lease ends in any case
	}()
	return exited, nil
}
