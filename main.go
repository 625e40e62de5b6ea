// Command portcheck finds out before a deploy which of the ports that an app needs
// are taken, by whom, and what to use instead.
package main

import (
	"os"

	"github.com/org/portcheck/cli"
)

func main() { os.Exit(cli.Main()) }
