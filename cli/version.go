package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set when a release is built: -ldflags "-X github.com/org/portcheck/cli.version=v0.1.0".
var version = ""

// tool returns the name and version for reports: "portcheck v0.1.0".
func tool() string {
	v := version
	if info, ok := debug.ReadBuildInfo(); v == "" && ok && info.Main.Version != "(devel)" {
		v = info.Main.Version
	}
	if v == "" {
		v = "devel"
	}
	return "portcheck " + v
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  portcheck version",
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return a.printVersion() },
	}
}

func (a *app) printVersion() error {
	_, err := fmt.Fprintf(a.stdout, "%s (%s, %s/%s)\n", tool(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return writeFailure("the version", err)
}

// versionFlag gives root the flag --version, which does what the command does.
func (a *app) versionFlag(root *cobra.Command) {
	print := root.Flags().BoolP("version", "v", false, "print the version")
	run := root.RunE
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if *print {
			return a.printVersion()
		}
		return run(cmd, args)
	}
}
