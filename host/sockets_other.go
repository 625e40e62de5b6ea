//go:build !linux && !darwin && !windows && !freebsd

package host

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"time"

	"github.com/org/portcheck/host/internal/socktab"
	"github.com/org/portcheck/port"
)

// listSockets runs netstat of OpenBSD and NetBSD, once for each family.
func listSockets(ctx context.Context, protocol port.Protocol) ([]socktab.Socket, error) {
	if runtime.GOOS != "openbsd" && runtime.GOOS != "netbsd" {
		return nil, errors.ErrUnsupported
	}
	var all []socktab.Socket
	for _, family := range []string{"inet", "inet6"} {
		cmd := exec.CommandContext(ctx, "netstat", append(socktab.NetstatArgs[:len(socktab.NetstatArgs):len(socktab.NetstatArgs)], family)...)
		cmd.WaitDelay = time.Second
		output, err := cmd.Output()
		if err != nil {
			return nil, err
		}
		sockets, err := socktab.ParseNetstat(string(output), protocol)
		if err != nil {
			return nil, err
		}
		all = append(all, sockets...)
	}
	return all, nil
}
