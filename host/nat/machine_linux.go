package nat

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/netlink"
)

// readMachine reads the interfaces that are up, and the addresses of the machine. It reads
// them again if they changed meanwhile.
func readMachine(ctx context.Context) (machine, error) {
	for try := 1; ; try++ {
		m, err := readMachineOnce(ctx)
		if !errors.Is(err, errChanged) || try == maxTries || ctx.Err() != nil {
			return m, err
		}
	}
}

func readMachineOnce(ctx context.Context) (machine, error) {
	c, err := netlink.Open(netlink.Route)
	if err != nil {
		return machine{}, unreadable(err)
	}
	defer c.Close()
	l := links{all: map[uint32]*link{}}
	request := netlink.Request{Type: unix.RTM_GETLINK, Flags: unix.NLM_F_DUMP, Payload: make([]byte, unix.SizeofIfInfomsg)}
	if err := c.Ask(ctx, request, silence, l.addLink); err != nil {
		return machine{}, unreadable(err)
	}
	request = netlink.Request{Type: unix.RTM_GETADDR, Flags: unix.NLM_F_DUMP, Payload: make([]byte, unix.SizeofIfAddrmsg)}
	if err := c.Ask(ctx, request, silence, l.addAddr); err != nil {
		return machine{}, unreadable(err)
	}
	m := l.machine()
	m.routed, err = readRouted(ctx, c, m)
	return m, err
}

// links are the interfaces of a network namespace.
type links struct {
	all   map[uint32]*link
	order []uint32 // those that are up
}

type link struct {
	netInterface
	master, link uint32
	kind         string
	call4, call6 bool // options of a bridge: br_netfilter has its packets
}

// addLink adds an interface.
func (ls *links) addLink(m netlink.Message) error {
	data := m.Data
	if m.Type != unix.RTM_NEWLINK || len(data) < unix.SizeofIfInfomsg {
		return nil
	}
	flags := binary.NativeEndian.Uint32(data[8:])
	l := &link{netInterface: netInterface{index: binary.NativeEndian.Uint32(data[4:]), kind: binary.NativeEndian.Uint16(data[2:]), loopback: flags&unix.IFF_LOOPBACK != 0}}
	err := eachAttribute(data[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) error {
		switch {
		case kind == unix.IFLA_IFNAME:
			l.name = cString(value)
		case kind == unix.IFLA_MASTER && len(value) == 4:
			l.master = binary.NativeEndian.Uint32(value)
		case kind == unix.IFLA_LINK && len(value) == 4:
			l.link = binary.NativeEndian.Uint32(value)
		case kind == unix.IFLA_LINKINFO:
			info, err := parseAttributes(value)
			l.kind = info.text(unix.IFLA_INFO_KIND)
			if err != nil || l.kind != "bridge" {
				return err
			}
			return eachAttribute(info[unix.IFLA_INFO_DATA], func(kind uint16, value []byte) error {
				on := len(value) == 1 && value[0] != 0
				l.call4 = l.call4 || kind == unix.IFLA_BR_NF_CALL_IPTABLES && on
				l.call6 = l.call6 || kind == unix.IFLA_BR_NF_CALL_IP6TABLES && on
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if flags&unix.IFF_UP != 0 {
		ls.order = append(ls.order, l.index)
	}
	ls.all[l.index] = l
	return nil
}

// addAddr adds an address to its interface.
func (ls *links) addAddr(m netlink.Message) error {
	data := m.Data
	if m.Type != unix.RTM_NEWADDR || len(data) < unix.SizeofIfAddrmsg {
		return nil
	}
	l := ls.all[binary.NativeEndian.Uint32(data[4:])]
	a, err := parseAttributes(data[unix.SizeofIfAddrmsg:])
	if err != nil {
		return err
	}
	own := a[unix.IFA_LOCAL]
	if own == nil {
		own = a[unix.IFA_ADDRESS]
	}
	if addr, ok := netip.AddrFromSlice(own); ok && l != nil {
		l.addrs = append(l.addrs, addr)
	}
	return nil
}

func (ls *links) machine() machine {
	ports := map[uint32][]uint32{}
	vlans := map[string]bool{}
	for index, l := range ls.all {
		vlans[l.name] = l.kind == "vlan"
		if l.master != 0 {
			ports[l.master] = append(ports[l.master], index)
		}
	}
	var below func(index uint32, depth int) []string
	below = func(index uint32, depth int) (names []string) {
		next := ports[index]
		if l := ls.all[index]; l.kind == "vlan" || l.kind == "macvlan" || l.kind == "ipvlan" {
			next = append(next[:len(next):len(next)], l.link)
		}
		for _, n := range next {
			if l := ls.all[n]; l != nil && depth < maxStacked {
				names = append(append(names, l.name), below(n, depth+1)...)
			}
		}
		return names
	}
	// A macvlan upon a bridge has what the bridge has.
	var bridge func(l *link, depth int) *link
	bridge = func(l *link, depth int) *link {
		if l != nil && (l.kind == "macvlan" || l.kind == "ipvlan") && depth < maxStacked {
			return bridge(ls.all[l.link], depth+1)
		}
		return l
	}
	calls := sync.OnceValue(readBridgeCalls)
	var m machine
	for _, index := range ls.order {
		l := ls.all[index]
		// Packets that arrive at a port of a bridge or a bond come from the bridge. Those
		// of a VRF keep their own interface at first.
		if master := ls.all[l.master]; master != nil {
			if master.kind != "vrf" {
				continue
			}
			l.vrf = master.name
		}
		l.lower = below(l.index, 0)
		l.tagged = l.kind == "vlan" || slices.ContainsFunc(l.lower, func(name string) bool { return vlans[name] })
		if b := bridge(l, 0); b != nil && b.kind == "bridge" {
			c := calls()
			l.early4, l.early6, l.upon = c.has4(b), c.has6(b), b != l
		}
		m.interfaces = append(m.interfaces, l.netInterface)
	}
	return m
}

// bridgeCalls are the settings of br_netfilter. Each bridge has options beside them.
type bridgeCalls struct{ loaded, all4, all6 bool }

func readBridgeCalls() bridgeCalls {
	v4, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-iptables")
	v6, err6 := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-ip6tables")
	on := func(text []byte) bool { return strings.TrimSpace(string(text)) != "0" }
	return bridgeCalls{err == nil && err6 == nil, on(v4), on(v6)}
}

func (c bridgeCalls) has4(l *link) bool { return c.loaded && (c.all4 || l.call4) }

func (c bridgeCalls) has6(l *link) bool { return c.loaded && (c.all6 || l.call6) }

// mayTranslate reports, without any rights, whether there may be NAT rules. Such
// rules need conntrack, and that then counts connections on loopback, too, unless a
// rule exempts them.
func mayTranslate() bool {
	before, err := trackedConnections()
	if errors.Is(err, os.ErrNotExist) {
		_, err := os.Stat("/proc/sys/net")
		return err != nil // else the kernel has no conntrack
	}
	if err != nil || before > 0 {
		return true
	}
	for _, addr := range []string{"127.0.0.1", "::1"} {
		if !callSelf(netip.MustParseAddr(addr)) {
			continue
		}
		after, err := trackedConnections()
		if err != nil || after > before {
			return true
		}
	}
	return false
}

// mayProxy reports, without any rights, whether rules of any network namespace use a
// module for transparent proxies.
func mayProxy() bool {
	text, err := os.ReadFile("/proc/modules")
	return err == nil && usesProxies(string(text))
}

// usesProxies reads lines with a name, a size, and how many use the module.
func usesProxies(modules string) bool {
	for line := range strings.Lines(modules) {
		if f := strings.Fields(line); len(f) > 2 && (f[0] == "xt_TPROXY" || f[0] == "nft_tproxy") && f[2] != "0" {
			return true
		}
	}
	return false
}

func trackedConnections() (int, error) {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// callSelf sends datagrams to a socket of its own, from several ports: other
// connections may end meanwhile.
func callSelf(addr netip.Addr) bool {
	const calls = 16
	domain := unix.AF_INET
	var to unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if addr.Is6() {
		domain, to = unix.AF_INET6, &unix.SockaddrInet6{Addr: addr.As16()}
	}
	open := func() (int, error) { return unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) }
	server, err := open()
	if err != nil {
		return false
	}
	defer unix.Close(server)
	if err := unix.Bind(server, to); err != nil {
		return false
	}
	bound, err := unix.Getsockname(server)
	if err != nil {
		return false
	}
	for range calls {
		client, err := open()
		if err != nil {
			return false
		}
		_ = unix.Sendto(client, nil, unix.MSG_DONTWAIT, bound) // a rule may forbid it
		_ = unix.Close(client)
	}
	return true
}
