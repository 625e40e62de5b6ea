// Command portcheck finds out before a deploy which of the ports that an app needs
// are taken, by whom, and what to use instead.
package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/org/portcheck/cli"
)

func main() {
	collectLate()
	// Signals are caught until the process exits: one that comes late would take the
	// place of the exit code.
	ctx, _ := cli.WithSignals(context.Background())
	os.Exit(cli.Run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

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
