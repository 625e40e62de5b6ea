// Command portcheck says before a deploy which of the ports an app needs are
// taken, by whom, and what to use instead.
package main

import (
	"context"
	"os"

	"github.com/org/portcheck/cli"
)

func main() {
	ctx, stop := cli.WithSignals(context.Background())
	code := cli.Run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
