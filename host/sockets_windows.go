package host

import (
	"context"

	"github.com/shirou/gopsutil/v4/net"

	"github.com/org/portcheck/host/internal/socktab"
	"github.com/org/portcheck/port"
)

// listSockets calls GetExtendedTcpTable or GetExtendedUdpTable, by gopsutil.
func listSockets(ctx context.Context, protocol port.Protocol) ([]socktab.Socket, error) {
	stats, err := net.ConnectionsWithContext(ctx, string(protocol))
	if err != nil {
		return nil, err
	}
	all := make([]socktab.Socket, len(stats))
	for i, stat := range stats {
		if all[i], err = socktab.FromStat(stat); err != nil {
			return nil, err
		}
	}
	return all, nil
}
