package cli

import (
	"runtime"
	"runtime/debug"
)

// collectLate puts the first garbage collection off until there are 32 MiB: most runs
// end before, after some milliseconds. That limit holds for the first collection alone,
// because a larger heap would be collected without end. No run needs much more than the
// limit that follows.
func collectLate() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(32 << 20)
	runtime.AddCleanup(new([16]byte), func(struct{}) {
		debug.SetGCPercent(35)
		debug.SetMemoryLimit(128 << 20)
	}, struct{}{})
}
