// Command demo runs portcheck on the example shop while it holds port 8080 itself,
// as a forgotten process might.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	if err := show(); err != nil {
		fmt.Fprintln(os.Stderr, "demo: run this in the root of the repository:", err)
		os.Exit(2)
	}
}

func show() error {
	dir, err := os.MkdirTemp("", "portcheck-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	portcheck := filepath.Join(dir, "portcheck.exe") // only Windows needs the suffix
	if err := run("go", "build", "-o", portcheck, "."); err != nil {
		return err
	}
	// If the port is already taken, that is a conflict to show as well.
	if l, err := net.Listen("tcp", ":8080"); err == nil {
		defer l.Close()
	}
	// The port is taken here, so the check must be here even in a container of CI.
	err = run(portcheck, "--target", "local", "testdata/shop/portcheck.yml")
	if conflict := new(exec.ExitError); errors.As(err, &conflict) && conflict.ExitCode() == 1 {
		return nil // the conflict was found
	}
	return err
}

func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
