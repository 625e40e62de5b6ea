// Command portcheck says before a deploy which of the ports an app needs are
// taken, by whom, and what to use instead.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/org/portcheck/cli"
)

func main() {
	// A check lives for milliseconds: collecting garbage pays only for a huge
	// socket table.
	debug.SetGCPercent(800)
	debug.SetMemoryLimit(32 << 20)
	ctx, stop := cli.WithSignals(context.Background())
	code := cli.Run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
