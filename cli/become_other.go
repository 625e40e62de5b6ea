//go:build !unix

package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/org/portcheck/port"
)

func openSocket(context.Context, port.Endpoint, port.Binding) (*os.File, error) {
	return nil, errors.New("--pass-sockets needs a system on which processes inherit sockets by their descriptors")
}

// become runs a program as a child of this process, which can't become it here, and ends
// with its exit code. It returns only if the program can't be started. A signal of
// the console reaches both, and it is the program's to act on.
func become(path string, args, env []string, _ []*os.File) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM) // and is never read: this process goes on
	cmd := &exec.Cmd{Path: path, Args: args, Env: env, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = cmd.Wait() // its state says how it has ended
	os.Exit(cmd.ProcessState.ExitCode())
	return nil
}
