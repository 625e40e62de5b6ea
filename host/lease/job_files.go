//go:build !linux || filelocks

package lease

import (
	"context"
	"errors"
	"os"
	"strconv"
	"time"
)

// jobsFile has the locks of jobs: a byte for each, beyond those of leases.
const jobsFile = "jobs"

// lockJob is LockJob. The lock is a byte of a file. That of another job may be the same one:
// they wait for each other.
func lockJob(ctx context.Context, job, _ string, deadline time.Time) (unlock func(), pid int, ok bool) {
	root, err := makeDirectory(directory())
	if err != nil {
		return nil, 0, true // the keeper says what is wrong
	}
	defer root.Close()
	f, err := openLock(root, jobsFile, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, 0, true
	}
	at, err := strconv.ParseInt(jobHash(job)[:6], 16, 64)
	if err != nil {
		at = 0
	}
	for {
		err := lockByte(f, leasedByte+1+at)
		switch {
		case err == nil:
			return handle{f}.close, 0, true
		case !errors.Is(err, errTaken):
			f.Close()
			return nil, 0, true
		case ctx.Err() != nil || !time.Now().Before(deadline):
			f.Close()
			return nil, 0, false
		}
		time.Sleep(2 * time.Millisecond) // a wait for the lock can't be ended
	}
}
