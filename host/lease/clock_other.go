//go:build !linux

package lease

import "time"

// sinceBoot returns a time that goes on in suspend. It is that of the clock, and jumps
// if that is set.
func sinceBoot() time.Duration { return time.Duration(time.Now().UnixNano()) }
