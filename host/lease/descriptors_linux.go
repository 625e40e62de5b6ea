package lease

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Descriptors returns how many descriptors this process may have, and 0 if that is not
// known. It is read once.
var Descriptors = sync.OnceValue(func() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
})
