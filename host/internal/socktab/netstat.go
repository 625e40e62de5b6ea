package socktab

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/org/portcheck/port"
)

// NetstatArgs are the arguments with which netstat of OpenBSD and NetBSD prints what
// ParseNetstat reads, without the family's name. Without -v it cuts an IPv6 address
// after 16 characters, and what is left can be another address.
//
// Source: inet6print of usr.bin/netstat/inet6.c of both systems.
var NetstatArgs = []string{"-n", "-a", "-v", "-f"}

// ParseNetstat parses the sockets of a protocol in the output of netstat, and leaves
// out those without a port. It returns an error if a line can't be parsed.
func ParseNetstat(output string, protocol port.Protocol) ([]Socket, error) {
	var all []Socket
	for line := range strings.Lines(output) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != string(protocol) && f[0] != string(protocol)+"6" {
			continue // a heading, or another protocol
		}
		// Recv-Q, Send-Q, the local and the foreign address, of TCP the state.
		columns := 5
		if protocol == port.TCP {
			columns = 6
		}
		if len(f) < columns {
			return nil, fmt.Errorf("%.120q has %d columns, want %d", line, len(f), columns)
		}
		s := Socket{}
		s.Protocol = protocol
		if protocol == port.TCP {
			s.Status = f[5]
		}
		v6 := strings.HasSuffix(f[0], "6")
		local, foreign := f[3], f[4]
		if strings.HasSuffix(local, ".*") {
			continue
		}
		addr, n, err := addrAndPort(local, strings.LastIndexByte(local, '.'), v6)
		if err != nil {
			return nil, err
		}
		s.Port = n
		s.Addr, s.Device = unscope(addr)
		if !strings.HasSuffix(foreign, ".*") {
			addr, n, err := addrAndPort(foreign, strings.LastIndexByte(foreign, '.'), v6)
			if err != nil {
				return nil, err
			}
			s.Remote = netip.AddrPortFrom(addr.WithZone(""), n)
		}
		all = append(all, s)
	}
	return all, nil
}
