// Command portcheck finds out before a deploy which of the ports that an app needs
// are taken, by whom, and what to use instead.
package main

import (
	"context"
	"os"

	"github.com/org/portcheck/cli"
)

func main() {
	cli.CollectLate()
	// Signals are caught until the process exits: one that comes late would take the
	// place of the exit code.
	ctx, _ := cli.WithSignals(context.Background())
	os.Exit(cli.Run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
