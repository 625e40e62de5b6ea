package lease

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"
)

// jobLocks are the locks of jobs that this process has, by their tokens.
var jobLocks struct {
	sync.Mutex
	unlock map[string]func()
}

// LockJob waits until this is the only request that chooses ports for a job of this
// process's user, until the deadline. The lock ends with UnlockJob or this process. The
// same token can have it twice: a machine can be several targets. If it can't be had, pid
// is the process that has it, 0 if that is unknown. Another user can't keep it from
// anybody.
func LockJob(ctx context.Context, job, token string, deadline time.Time) (pid int, ok bool) {
	unlock, pid, ok := lockJob(ctx, Name(job), token, deadline)
	if unlock != nil {
		jobLocks.Lock()
		defer jobLocks.Unlock()
		if jobLocks.unlock == nil {
			jobLocks.unlock = map[string]func(){}
		}
		jobLocks.unlock[token] = unlock
	}
	return pid, ok
}

// UnlockJob ends what LockJob has locked with a token, if this process has it.
func UnlockJob(token string) {
	jobLocks.Lock()
	unlock := jobLocks.unlock[token]
	delete(jobLocks.unlock, token)
	jobLocks.Unlock()
	if unlock != nil {
		unlock()
	}
}

// jobHash returns the first bytes of a job's name in the lock of the job.
func jobHash(job string) string {
	sum := sha256.Sum256([]byte(job))
	return hex.EncodeToString(sum[:16])
}
