package host

import (
	"context"
	"errors"

	"github.com/org/portcheck/host/internal/socktab"
	"github.com/org/portcheck/port"
)

// listSockets runs lsof.
func listSockets(ctx context.Context, protocol port.Protocol) ([]socktab.Socket, error) {
	all, err := lsof(ctx)
	if err == nil && len(all) == 0 {
		err = errors.New("lsof shows no sockets, as it does if it can't read the kernel's lists")
	}
	return all, err
}
