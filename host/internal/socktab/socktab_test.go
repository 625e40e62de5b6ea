package socktab_test

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/shirou/gopsutil/v4/net"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/internal/socktab"
	"github.com/org/portcheck/port"
)

var addrs = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})

func TestState(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.1:443")
	for _, c := range []struct {
		protocol port.Protocol
		status   string
		remote   netip.AddrPort
		want     host.State
	}{
		{port.TCP, "LISTEN", netip.AddrPort{}, host.Listen},
		{port.TCP, "CLOSED", netip.AddrPort{}, host.Bound},
		{port.TCP, "CLOSED", peer, host.Closing},
		{port.TCP, "SYN_SENT", peer, host.Connected},
		{port.TCP, "SYN_RECEIVED", peer, host.Connected},
		{port.TCP, "ESTABLISHED", peer, host.Connected},
		{port.TCP, "FIN_WAIT_2", peer, host.Closing},
		{port.TCP, "CLOSE_WAIT", peer, host.Closing},
		{port.TCP, "TIME_WAIT", peer, host.TimeWait},
		{port.TCP, "", peer, host.Closing},
		{port.UDP, "", netip.AddrPort{}, host.Listen},
		{port.UDP, "", peer, host.Connected},
	} {
		s := socktab.Socket{Endpoint: port.Endpoint{Protocol: c.protocol}, Status: c.status, Remote: c.remote}
		if got := host.State(s.State()); got != c.want {
			t.Errorf("%s %q to %v: %s, want %s", c.protocol, c.status, c.remote, got, c.want)
		}
	}
}

func endpoint(protocol port.Protocol, addr string, n uint16) port.Endpoint {
	return port.Endpoint{Protocol: protocol, Addr: netip.MustParseAddr(addr), Port: n}
}

func TestFromStat(t *testing.T) {
	const inet, inet6 = syscall.AF_INET, syscall.AF_INET6
	const stream, dgram = syscall.SOCK_STREAM, syscall.SOCK_DGRAM
	linkLocal := endpoint(port.TCP, "fe80::1", 22)
	linkLocal.Device = "4"
	highIndex := linkLocal
	highIndex.Device = "258"
	for name, c := range map[string]struct {
		stat net.ConnectionStat
		want socktab.Socket
	}{
		"Windows, UDP without a PID": {
			net.ConnectionStat{Family: inet6, Type: dgram, Laddr: net.Addr{IP: "::1", Port: 123}},
			socktab.Socket{Endpoint: endpoint(port.UDP, "::1", 123)},
		},
		"a connection": {
			net.ConnectionStat{Family: inet, Type: stream, Laddr: net.Addr{IP: "127.0.0.1", Port: 8080}, Raddr: net.Addr{IP: "127.0.0.1", Port: 50000}, Status: "ESTABLISHED", Pid: 12},
			socktab.Socket{Endpoint: endpoint(port.TCP, "127.0.0.1", 8080), Status: "ESTABLISHED", Remote: netip.MustParseAddrPort("127.0.0.1:50000"), PIDs: []int{12}},
		},
		"IPv4 on a dual-stack socket": {
			net.ConnectionStat{Family: inet6, Type: stream, Laddr: net.Addr{IP: "::ffff:127.0.0.1", Port: 8080}, Status: "LISTEN"},
			socktab.Socket{Endpoint: endpoint(port.TCP, "127.0.0.1", 8080), Status: "LISTEN"},
		},
		"an embedded scope": {
			net.ConnectionStat{Family: inet6, Type: stream, Laddr: net.Addr{IP: "fe80:4::1", Port: 22}, Status: "LISTEN"},
			socktab.Socket{Endpoint: linkLocal, Status: "LISTEN"},
		},
		"an embedded scope of two bytes": {
			net.ConnectionStat{Family: inet6, Type: stream, Laddr: net.Addr{IP: "fe80:102::1", Port: 22}, Status: "LISTEN"},
			socktab.Socket{Endpoint: highIndex, Status: "LISTEN"},
		},
		"Windows, a listener's remote": {
			net.ConnectionStat{Family: inet, Type: stream, Laddr: net.Addr{IP: "0.0.0.0", Port: 445}, Raddr: net.Addr{IP: "0.0.0.0", Port: 12345}, Status: "LISTEN", Pid: 4},
			socktab.Socket{Endpoint: endpoint(port.TCP, "0.0.0.0", 445), Status: "LISTEN", PIDs: []int{4}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := socktab.FromStat(c.stat)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, addrs); diff != "" {
				t.Error(diff)
			}
		})
	}
	for name, stat := range map[string]net.ConnectionStat{
		"a raw socket": {Family: inet, Type: syscall.SOCK_RAW, Laddr: net.Addr{IP: "0.0.0.0"}},
		"no address":   {Family: inet, Type: stream, Laddr: net.Addr{IP: "localhost", Port: 1}},
		"no port":      {Family: inet, Type: stream, Laddr: net.Addr{IP: "0.0.0.0", Port: 65536}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := socktab.FromStat(stat); err == nil {
				t.Errorf("got %v, want an error", got)
			}
		})
	}
}

func TestGroup(t *testing.T) {
	web := socktab.Socket{Endpoint: endpoint(port.TCP, "0.0.0.0", 80), Status: "LISTEN"}
	with := func(s socktab.Socket, pids ...int) socktab.Socket { s.PIDs = pids; return s }
	client := web
	client.Remote, client.Status = netip.MustParseAddrPort("192.0.2.1:50000"), "ESTABLISHED"
	got := socktab.Group([]socktab.Socket{with(web, 1), with(client, 2), with(web, 2), with(web, 1)})
	want := []socktab.Socket{with(web, 1, 2), with(client, 2)}
	if diff := cmp.Diff(want, got, addrs); diff != "" {
		t.Error(diff)
	}
}

// pcb is one entry of macOS's list, as the kernel writes it.
type pcb struct {
	versions      byte
	local, remote string // addresses
	lport, rport  uint16
	id            uint64
	uid           uint32
	orphan        bool
	state         int // of TCP; -1: UDP
}

func (p pcb) bytes() []byte {
	le, be := binary.LittleEndian, binary.BigEndian
	record := func(size, kind int) []byte {
		b := make([]byte, (size+7)&^7)
		le.PutUint32(b, uint32(size))
		le.PutUint32(b[4:], uint32(kind))
		return b
	}
	put := func(b []byte, addr string) {
		ip := netip.MustParseAddr(addr)
		if ip.Is4() {
			copy(b[12:], ip.AsSlice())
		} else {
			copy(b, ip.AsSlice())
		}
	}
	inp := record(104, 0x10)
	be.PutUint16(inp[16:], p.rport)
	be.PutUint16(inp[18:], p.lport)
	le.PutUint64(inp[28:], p.id)
	inp[44] = p.versions
	put(inp[48:], p.remote)
	put(inp[64:], p.local)
	so := record(108, 0x01)
	if !p.orphan {
		le.PutUint16(so[16:], 1)
		le.PutUint32(so[64:], p.uid)
	}
	all := append(inp, so...)
	all = append(all, record(36, 0x02)...)
	all = append(all, record(36, 0x04)...)
	all = append(all, record(136, 0x08)...)
	if p.state >= 0 {
		tcp := record(204, 0x20)
		le.PutUint32(tcp[36:], uint32(p.state))
		all = append(all, tcp...)
	}
	return all
}

func generation(count int) []byte {
	b := make([]byte, 24)
	binary.LittleEndian.PutUint32(b, 24)
	binary.LittleEndian.PutUint32(b[4:], uint32(count))
	return b
}

func list(entries ...pcb) []byte {
	all := generation(len(entries))
	for _, e := range entries {
		all = append(all, e.bytes()...)
	}
	return append(all, generation(len(entries))...)
}

func TestParsePCBList(t *testing.T) {
	uid := func(n uint32) *uint32 { return &n }
	v6only := endpoint(port.TCP, "::", 81)
	v6only.V6Only = true
	linkLocal := endpoint(port.TCP, "fe80::1", 22)
	linkLocal.Device = "4"
	for name, c := range map[string]struct {
		protocol port.Protocol
		list     []byte
		want     []socktab.Socket
	}{
		"empty":               {port.TCP, generation(0), nil},
		"no entries":          {port.TCP, list(), nil},
		"a socket, no port":   {port.UDP, list(pcb{versions: 1, local: "0.0.0.0", remote: "0.0.0.0", state: -1}), nil},
		"dual stack":          {port.TCP, list(pcb{versions: 3, local: "::", remote: "::", lport: 80, id: 7, uid: 501, state: 1}), []socktab.Socket{{Endpoint: endpoint(port.TCP, "::", 80), Status: "LISTEN", UID: uid(501), ID: 7}}},
		"V6ONLY":              {port.TCP, list(pcb{versions: 2, local: "::", remote: "::", lport: 81, id: 8, state: 1}), []socktab.Socket{{Endpoint: v6only, Status: "LISTEN", UID: uid(0), ID: 8}}},
		"IPv4, bound":         {port.TCP, list(pcb{versions: 1, local: "127.0.0.1", remote: "0.0.0.0", lport: 82, id: 9, state: 0}), []socktab.Socket{{Endpoint: endpoint(port.TCP, "127.0.0.1", 82), Status: "CLOSED", UID: uid(0), ID: 9}}},
		"link-local":          {port.TCP, list(pcb{versions: 2, local: "fe80:4::1", remote: "::", lport: 22, id: 10, state: 1}), []socktab.Socket{{Endpoint: linkLocal, Status: "LISTEN", UID: uid(0), ID: 10}}},
		"TIME_WAIT, orphaned": {port.TCP, list(pcb{versions: 1, local: "127.0.0.1", remote: "127.0.0.1", lport: 83, rport: 50000, id: 11, orphan: true, state: 10}), []socktab.Socket{{Endpoint: endpoint(port.TCP, "127.0.0.1", 83), Remote: netip.MustParseAddrPort("127.0.0.1:50000"), Status: "TIME_WAIT"}}},
		"two of UDP": {
			port.UDP, list(
				pcb{versions: 1, local: "0.0.0.0", remote: "0.0.0.0", lport: 5353, id: 1, uid: 65, state: -1},
				pcb{versions: 2, local: "::1", remote: "::1", lport: 500, rport: 501, id: 2, uid: 501, state: -1}),
			[]socktab.Socket{
				{Endpoint: endpoint(port.UDP, "0.0.0.0", 5353), UID: uid(65), ID: 1},
				{Endpoint: endpoint(port.UDP, "::1", 500), Remote: netip.MustParseAddrPort("[::1]:501"), UID: uid(501), ID: 2},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := socktab.ParsePCBList(c.list, c.protocol)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, addrs); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParsePCBListBroken(t *testing.T) {
	whole := list(pcb{versions: 1, local: "127.0.0.1", remote: "0.0.0.0", lport: 80, state: 1})
	for n := range whole {
		if got, err := socktab.ParsePCBList(whole[:n], port.TCP); err == nil {
			t.Fatalf("the first %d of %d bytes: got %v, want an error", n, len(whole), got)
		}
	}
	strange := list(pcb{versions: 1, local: "127.0.0.1", remote: "0.0.0.0", lport: 80, state: 11})
	if _, err := socktab.ParsePCBList(strange, port.TCP); err == nil {
		t.Error("an unknown TCP state is no error")
	}
}

func FuzzParsePCBList(f *testing.F) {
	f.Add(list(pcb{versions: 3, local: "::", remote: "::", lport: 80, state: 1}))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = socktab.ParsePCBList(b, port.TCP)
	})
}
