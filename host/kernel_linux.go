package host

import (
	"context"
	"encoding/binary"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/netlink"
	"github.com/org/portcheck/port"
)

// markKernels marks the sockets that the kernel itself made. Those of VXLAN and Geneve
// interfaces are known by their port. The others, such as WireGuard's and those of an
// NFS server, are those that no process has open although every process was examined,
// and that are still there: the process of another one may have ended meanwhile.
func markKernels(ctx context.Context, sockets []*Socket) {
	ownerless := map[uint64][]*Socket{}
	ports := wantedPorts{}
	var tunnels []tunnel
	asked := false
	for _, s := range sockets {
		if s.Inode == 0 || len(s.Holders) > 0 || s.State != Listen && s.State != Bound {
			continue
		}
		if s.Protocol == port.UDP && s.Addr.IsUnspecified() {
			if !asked {
				tunnels, asked = readTunnels(), true
			}
			for _, t := range tunnels {
				if t.port == s.Port {
					s.Kernel = true
					s.KernelDevices = append(s.KernelDevices, t.device)
				}
			}
		}
		if s.Complete && !s.Kernel {
			ownerless[s.Inode] = append(ownerless[s.Inode], s)
			ports.add(s.Protocol, port.Set{port.One(s.Port)})
		}
	}
	var queries []query
	for proto, bits := range ports {
		queries = append(queries, query{protocol: proto, ports: bits})
	}
	if len(queries) == 0 {
		return
	}
	for _, now := range readTable(ctx, queries).sockets {
		for _, s := range ownerless[now.Inode] {
			s.Kernel = true
		}
	}
}

// tunnel is an interface for which the kernel has a UDP socket.
type tunnel struct {
	device string
	port   uint16
}

// readTunnels returns the VXLAN and Geneve interfaces of this network namespace that
// are up, since only those have a socket; none if they can't be read.
func readTunnels() []tunnel {
	text, err := syscall.NetlinkRIB(unix.RTM_GETLINK, unix.AF_UNSPEC)
	if err != nil {
		return nil
	}
	messages, err := syscall.ParseNetlinkMessage(text)
	if err != nil {
		return nil
	}
	var all []tunnel
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg || binary.NativeEndian.Uint32(m.Data[8:])&unix.IFF_UP == 0 {
			continue
		}
		if t, ok := parseTunnel(m.Data[unix.SizeofIfInfomsg:]); ok {
			all = append(all, t)
		}
	}
	return all
}

// tunnelPorts has the attribute with the port for each kind of interface
// (include/uapi/linux/if_link.h).
var tunnelPorts = map[string]uint16{"vxlan": unix.IFLA_VXLAN_PORT, "geneve": unix.IFLA_GENEVE_PORT}

// parseTunnel parses the attributes of an interface.
func parseTunnel(attributes []byte) (t tunnel, ok bool) {
	t.device = text(attribute(attributes, unix.IFLA_IFNAME))
	info := attribute(attributes, unix.IFLA_LINKINFO)
	kind, known := tunnelPorts[text(attribute(info, unix.IFLA_INFO_KIND))]
	number := attribute(attribute(info, unix.IFLA_INFO_DATA), kind)
	if !known || len(number) != 2 || t.device == "" {
		return tunnel{}, false
	}
	t.port = binary.BigEndian.Uint16(number)
	return t, true
}

// attribute returns the value of a netlink attribute, nil if there is none.
func attribute(list []byte, kind uint16) []byte {
	for {
		found, value, rest, ok := netlink.CutAttribute(list)
		if !ok {
			return nil
		}
		if found == kind {
			return value
		}
		list = rest
	}
}

// text returns an attribute that ends with a NUL.
func text(value []byte) string {
	if i := slices.Index(value, 0); i >= 0 {
		value = value[:i]
	}
	return string(value)
}
