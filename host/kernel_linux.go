package host

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/netlink"
	"github.com/org/portcheck/port"
)

// markKernels marks the sockets that the kernel itself made. Those of VXLAN and Geneve
// interfaces are known by their port. The others, such as WireGuard's and those of an
// NFS server, are those that no process has open although every process was examined,
// and that are still there: the process of another one may have ended meanwhile. That is
// not enough by itself. A socket on its way between processes, one in an io_uring of an
// older kernel, or one that each of a chain of short processes hands on, has no process
// either.
func markKernels(ctx context.Context, sockets []*Socket) {
	ownerless := map[uint64][]*Socket{}
	ports := wantedPorts{}
	known := sync.OnceValue(readInterfaces)
	serves := sync.OnceValue(kernelServes)
	for _, s := range sockets {
		if s.Inode == 0 || len(s.Holders) > 0 || s.State != Listen && s.State != Bound {
			continue
		}
		if s.Protocol == port.UDP && s.Addr.IsUnspecified() {
			for _, t := range known().tunnels {
				if t.port == s.Port && t.at(s.Addr) {
					s.Kernel = true
					s.KernelDevices = append(s.KernelDevices, t.device)
				}
			}
		}
		if !s.Complete || s.Kernel || s.UID == nil || *s.UID != 0 {
			continue
		}
		if s.Protocol == port.UDP && known().others || serves() {
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

// kernelServers are how the names of kernel threads start that serve sockets: of NFS, its
// locks and its callbacks, iSCSI, SMB, AFS, DLM, OCFS2 and DRBD.
var kernelServers = []string{"nfsd", "lockd", "NFSv4", "iscsi_np", "ksmbd", "krxrpc", "dlm_", "o2net", "drbd_"}

// kernelServes reports whether the kernel has a thread that serves sockets.
func kernelServes() bool {
	const kthreadd = 2 // the parent of all kernel threads
	pids, err := processes()
	return err != nil || slices.ContainsFunc(pids, func(pid int) bool {
		s, err := readStat("/proc/" + strconv.Itoa(pid) + "/")
		return err == nil && s.parent == kthreadd && slices.ContainsFunc(kernelServers, func(name string) bool { return strings.HasPrefix(s.name, name) })
	})
}

// interfaces are those of this network namespace for which the kernel has UDP sockets.
type interfaces struct {
	tunnels []tunnel
	others  bool // some have ports that are not read
}

// tunnel is an interface for which the kernel has a UDP socket of a known port.
type tunnel struct {
	device     string
	port       uint16
	ipv4, ipv6 bool // of which it has a socket
}

func (t tunnel) at(a netip.Addr) bool { return t.ipv4 && a.Is4() || t.ipv6 && a.Is6() }

// readInterfaces returns the interfaces that are up, since only those have a socket; none
// if they can't be read.
func readInterfaces() (all interfaces) {
	text, err := syscall.NetlinkRIB(unix.RTM_GETLINK, unix.AF_UNSPEC)
	if err != nil {
		return interfaces{}
	}
	messages, err := syscall.ParseNetlinkMessage(text)
	if err != nil {
		return interfaces{}
	}
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg || binary.NativeEndian.Uint32(m.Data[8:])&unix.IFF_UP == 0 {
			continue
		}
		attributes := m.Data[unix.SizeofIfInfomsg:]
		if t, ok := parseTunnel(attributes); ok {
			all.tunnels = append(all.tunnels, t)
		}
		kind, _ := kindOf(attributes)
		all.others = all.others || slices.Contains([]string{"wireguard", "gtp", "bareudp"}, kind)
	}
	return all
}

// tunnelKind says which attributes of a kind of interface have its port, its IPv6
// addresses, and that it has no addresses of its own (include/uapi/linux/if_link.h).
type tunnelKind struct {
	port     uint16
	ipv6     []uint16
	external uint16
}

var tunnelKinds = map[string]tunnelKind{
	"vxlan":  {unix.IFLA_VXLAN_PORT, []uint16{unix.IFLA_VXLAN_GROUP6, unix.IFLA_VXLAN_LOCAL6}, unix.IFLA_VXLAN_COLLECT_METADATA},
	"geneve": {unix.IFLA_GENEVE_PORT, []uint16{unix.IFLA_GENEVE_REMOTE6}, unix.IFLA_GENEVE_COLLECT_METADATA},
}

// kindOf returns the kind of an interface from its attributes, and what is special to it.
func kindOf(attributes []byte) (kind string, data []byte) {
	info := attribute(attributes, unix.IFLA_LINKINFO)
	return text(attribute(info, unix.IFLA_INFO_KIND)), attribute(info, unix.IFLA_INFO_DATA)
}

// parseTunnel parses the attributes of an interface. One with IPv6 addresses has a socket
// on [::] alone, and one without any addresses of its own both (vxlan_open, geneve_open).
func parseTunnel(attributes []byte) (t tunnel, ok bool) {
	t.device = text(attribute(attributes, unix.IFLA_IFNAME))
	name, data := kindOf(attributes)
	kind, known := tunnelKinds[name]
	number := attribute(data, kind.port)
	if !known || len(number) != 2 || t.device == "" {
		return tunnel{}, false
	}
	t.port = binary.BigEndian.Uint16(number)
	external := attribute(data, kind.external)
	both := external != nil && !slices.Equal(external, []byte{0})
	t.ipv6 = both || slices.ContainsFunc(kind.ipv6, func(a uint16) bool { return attribute(data, a) != nil })
	t.ipv4 = both || !t.ipv6
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
