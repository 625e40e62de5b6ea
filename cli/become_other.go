//go:build !unix

package cli

import (
	"context"
	"errors"
	"os"

	"github.com/org/portcheck/port"
)

var errNoExec = errors.New("a process can't become another program on this system")

func openSocket(context.Context, port.Endpoint, port.Binding) (*os.File, error) {
	return nil, errNoExec
}

func become(string, []string, []string, []*os.File) error { return errNoExec }
