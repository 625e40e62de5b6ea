// Command demo shows portcheck at work on any machine: it takes port 8080, as a
// forgotten process would, and has portcheck check the example shop.
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
	portcheck := filepath.Join(dir, "portcheck.exe") // the ending matters to Windows alone
	if err := run("go", "build", "-o", portcheck, "."); err != nil {
		return err
	}
	if l, err := net.Listen("tcp", ":8080"); err == nil {
		defer l.Close()
	} // else somebody else has it, which is just as good
	// Also in a container of a CI system the port that was just taken is meant.
	err = run(portcheck, "--target", "local", "testdata/shop/portcheck.yml")
	if conflict := new(exec.ExitError); errors.As(err, &conflict) && conflict.ExitCode() == 1 {
		return nil // as it should be
	}
	return err
}

func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
