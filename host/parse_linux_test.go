package host

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/netlink"
	"github.com/org/portcheck/port"
)

// diagMessage is an inet_diag_msg as the kernel writes it, with attributes of
// (kind, value) behind it.
type diagMessage struct {
	family, state byte
	port          uint16
	addr          []byte
	device        uint32
	uid, inode    uint32
	attrs         []diagAttr
	peer          netip.AddrPort
}

type diagAttr struct {
	kind  uint16
	value []byte
}

func (m diagMessage) bytes() []byte {
	data := make([]byte, diagMessageLen)
	data[0], data[1] = m.family, m.state
	binary.BigEndian.PutUint16(data[4:], m.port)
	binary.BigEndian.PutUint16(data[6:], m.peer.Port())
	copy(data[8:24], m.addr)
	copy(data[24:40], m.peer.Addr().AsSlice())
	binary.NativeEndian.PutUint32(data[40:], m.device)
	binary.NativeEndian.PutUint32(data[64:], m.uid)
	binary.NativeEndian.PutUint32(data[68:], m.inode)
	for _, a := range m.attrs {
		data = netlink.AppendAttribute(data, a.kind, a.value)
	}
	return data
}

func cgroupAttr(id uint64) diagAttr {
	return diagAttr{diagAttrCgroup, binary.NativeEndian.AppendUint64(nil, id)}
}

// diagOf is the message that parses to s.
func diagOf(s Socket) diagMessage {
	m := diagMessage{
		family: unix.AF_INET, port: s.Port, addr: s.Addr.AsSlice(), inode: uint32(s.Inode),
		attrs: []diagAttr{{diagAttrV6Only, []byte{0}}, cgroupAttr(s.Cgroup)},
	}
	if s.Addr.Is6() {
		m.family = unix.AF_INET6
	}
	if s.V6Only {
		m.attrs[0].value[0] = 1
	}
	if s.UID != nil {
		m.uid = *s.UID
	}
	_, _ = fmt.Sscanf(s.Device, "if%d", &m.device)
	m.state = map[State]byte{Listen: tcpListen, Bound: tcpBoundInactive, Connected: tcpEstablished, TimeWait: tcpTimeWait, Closing: 5}[s.State]
	if s.Peer.IsValid() {
		m.state, m.peer = tcpFinWait1, s.Peer
		if m.family == unix.AF_INET6 || s.Peer.Addr().Is6() {
			local, peer := s.Addr.As16(), s.Peer.Addr().As16()
			m.family, m.addr, m.peer = unix.AF_INET6, local[:], netip.AddrPortFrom(netip.AddrFrom16(peer), s.Peer.Port())
		}
	}
	return m
}

func nameDevice(index uint32) string { return fmt.Sprintf("if%d", index) }

func at(protocol port.Protocol, addrPort string) port.Endpoint {
	ap := netip.MustParseAddrPort(addrPort)
	return port.Endpoint{Protocol: protocol, Addr: ap.Addr().WithZone(""), Port: ap.Port(), Device: ap.Addr().Zone()}
}

func withPorts(q query, ranges ...port.Range) query {
	q.ports = new(port.Bits)
	q.ports.AddSet(ranges)
	return q
}

var compareAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})

func TestParseDiag(t *testing.T) {
	tcp, udp := query{protocol: port.TCP}, query{protocol: port.UDP}
	mapped := netip.MustParseAddr("::ffff:127.0.0.1").AsSlice()
	v6only := func(e port.Endpoint) port.Endpoint { e.V6Only = true; return e }
	onDevice := func(e port.Endpoint) port.Endpoint { e.Device = "if3"; return e }
	uid := func(n uint32) *uint32 { return &n }
	for name, c := range map[string]struct {
		message diagMessage
		query   query
		want    Socket // zero if the query does not select it
	}{
		"IPv4 listener": {
			diagMessage{family: unix.AF_INET, state: tcpListen, port: 8080, addr: []byte{127, 0, 0, 1}, uid: 33, inode: 99, attrs: []diagAttr{cgroupAttr(1 << 40)}},
			tcp,
			Socket{Endpoint: at("tcp", "127.0.0.1:8080"), State: Listen, UID: uid(33), Inode: 99, Cgroup: 1 << 40},
		},
		"dual-stack listener": {
			diagMessage{family: unix.AF_INET6, state: tcpListen, port: 80, inode: 1, attrs: []diagAttr{{diagAttrV6Only, []byte{0}}}},
			tcp,
			Socket{Endpoint: at("tcp", "[::]:80"), State: Listen, UID: uid(0), Inode: 1},
		},
		"V6ONLY listener": {
			diagMessage{family: unix.AF_INET6, state: tcpListen, port: 80, inode: 1, attrs: []diagAttr{{diagAttrV6Only, []byte{1}}}},
			tcp,
			Socket{Endpoint: v6only(at("tcp", "[::]:80")), State: Listen, UID: uid(0), Inode: 1},
		},
		"v4-mapped": {
			diagMessage{family: unix.AF_INET6, state: tcpListen, port: 80, addr: mapped, inode: 1},
			tcp,
			Socket{Endpoint: at("tcp", "127.0.0.1:80"), State: Listen, UID: uid(0), Inode: 1},
		},
		"bound to a device": {
			diagMessage{family: unix.AF_INET, state: tcpBoundInactive, port: 80, device: 3, inode: 1},
			tcp,
			Socket{Endpoint: onDevice(at("tcp", "0.0.0.0:80")), State: Bound, UID: uid(0), Inode: 1},
		},
		"TIME_WAIT has no owner": {
			diagMessage{family: unix.AF_INET, state: tcpTimeWait, port: 80},
			tcp,
			Socket{Endpoint: at("tcp", "0.0.0.0:80"), State: TimeWait},
		},
		"half open": {
			diagMessage{family: unix.AF_INET, state: tcpNewSynRecv, port: 80},
			tcp,
			Socket{Endpoint: at("tcp", "0.0.0.0:80"), State: Connected},
		},
		"FIN_WAIT1": {
			diagMessage{family: unix.AF_INET, state: tcpFinWait1, port: 80, peer: netip.MustParseAddrPort("192.0.2.7:4242")},
			tcp,
			Socket{Endpoint: at("tcp", "0.0.0.0:80"), State: Closing, Peer: netip.MustParseAddrPort("192.0.2.7:4242")},
		},
		"FIN_WAIT2": {
			diagMessage{family: unix.AF_INET, state: 5, port: 80, peer: netip.MustParseAddrPort("192.0.2.7:4242")},
			tcp,
			Socket{Endpoint: at("tcp", "0.0.0.0:80"), State: Closing},
		},
		"UDP unconnected": {
			diagMessage{family: unix.AF_INET, state: tcpClose, port: 53, inode: 1},
			udp,
			Socket{Endpoint: at("udp", "0.0.0.0:53"), State: Listen, UID: uid(0), Inode: 1},
		},
		"UDP connected": {
			diagMessage{family: unix.AF_INET, state: tcpEstablished, port: 53, inode: 1},
			udp,
			Socket{Endpoint: at("udp", "0.0.0.0:53"), State: Connected, UID: uid(0), Inode: 1},
		},
		"attributes that we don't know, and too short ones": {
			diagMessage{family: unix.AF_INET, state: tcpListen, port: 80, attrs: []diagAttr{{99, []byte("abcde")}, {diagAttrV6Only, nil}, {diagAttrCgroup, []byte{1, 2, 3}}, cgroupAttr(7)}},
			tcp,
			Socket{Endpoint: at("tcp", "0.0.0.0:80"), State: Listen, Cgroup: 7},
		},
		"unbound":         {diagMessage{family: unix.AF_INET, state: tcpClose}, udp, Socket{}},
		"another port":    {diagMessage{family: unix.AF_INET, state: tcpListen, port: 80}, withPorts(tcp, port.One(81)), Socket{}},
		"the port wanted": {diagMessage{family: unix.AF_INET, state: tcpListen, port: 80}, withPorts(tcp, port.One(80)), Socket{Endpoint: at("tcp", "0.0.0.0:80"), State: Listen}},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok, err := parseDiag(c.message.bytes(), c.query, nameDevice)
			if err != nil {
				t.Fatal(err)
			}
			if ok != (c.want.Port != 0) {
				t.Fatalf("parsed: %t", ok)
			}
			if diff := cmp.Diff(c.want, got, compareAddrs); ok && diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A dump is repeated only after errors that may be temporary.
func TestMayWorkAgain(t *testing.T) {
	for err, want := range map[error]bool{
		netlink.ErrInterrupted: true, netlink.ErrBroken: true, unix.ENOBUFS: true, unix.EPERM: false, unix.EAGAIN: false, unix.ENOENT: false,
	} {
		if got := mayWorkAgain(&netlink.Error{Op: "receive from sock_diag", Err: err}); got != want {
			t.Errorf("%v: %t, want %t", err, got, want)
		}
	}
}

// A message with wrong lengths is an error.
func TestParseDiagBroken(t *testing.T) {
	whole := diagMessage{family: unix.AF_INET, state: tcpListen, port: 80, attrs: []diagAttr{cgroupAttr(7)}}.bytes()
	tcp := query{protocol: port.TCP}
	for n := range diagMessageLen {
		if _, _, err := parseDiag(whole[:n], tcp, nameDevice); err == nil {
			t.Errorf("the first %d bytes parse", n)
		}
	}
	for _, size := range []uint16{0, 1, 3, 13, 0xffff} {
		data := bytes.Clone(whole)
		binary.NativeEndian.PutUint16(data[diagMessageLen:], size)
		if _, _, err := parseDiag(data, tcp, nameDevice); err == nil {
			t.Errorf("an attribute that claims %d of 12 bytes parses", size)
		}
	}
	if _, _, err := parseDiag(diagMessage{family: unix.AF_UNIX, port: 80}.bytes(), tcp, nameDevice); err == nil {
		t.Error("a socket of another family parses")
	}
}

const (
	procTCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 70213 1 0000000000000000 100 0 0 10 0                     
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 70214 1 0000000000000000 100 0 0 10 0                     
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000    33        0 70215 1 0000000000000000 20 4 30 10 -1                    
   3: 0100007F:1F91 0100007F:C351 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000                                      
`
	procTCP6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 70300 1 0000000000000000 100 0 0 10 0
   1: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 70301 1 0000000000000000 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:1F92 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 70302 1 0000000000000000 100 0 0 10 0
   3: B80D0120000000000000000001000000:0052 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 70303 1 0000000000000000 100 0 0 10 0
`
	procUDP = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            
 1234: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 15002 2 0000000000000000 0           
 1235: 0100007F:0036 0100007F:D431 01 00000000:00000000 00:00000000 00000000   101        0 15003 2 0000000000000000 0           
`
)

func TestParseProcNet(t *testing.T) {
	all := func(p port.Protocol) query { return query{protocol: p, every: true} }
	for name, c := range map[string]struct {
		text string
		q    query
		want []string
	}{
		"TCP that holds a port for good": {procTCP, query{protocol: port.TCP}, []string{"tcp 127.0.0.1:8080 listen uid 33 inode 70213", "tcp 0.0.0.0:80 listen uid 0 inode 70214"}},
		"TCP in every state": {procTCP, all(port.TCP), []string{
			"tcp 127.0.0.1:8080 listen uid 33 inode 70213", "tcp 0.0.0.0:80 listen uid 0 inode 70214",
			"tcp 127.0.0.1:8080 connected uid 33 inode 70215", "tcp 127.0.0.1:8081 time-wait",
		}},
		"TCP of one port": {procTCP, withPorts(all(port.TCP), port.One(8081)), []string{"tcp 127.0.0.1:8081 time-wait"}},
		"IPv6": {procTCP6, query{protocol: port.TCP}, []string{
			"tcp [::]:8080 listen uid 0 inode 70300", "tcp [::1]:81 listen uid 1000 inode 70301",
			"tcp 127.0.0.1:8082 listen uid 0 inode 70302", "tcp [2001:db8::1]:82 listen uid 0 inode 70303",
		}},
		"UDP":         {procUDP, query{protocol: port.UDP}, []string{"udp 127.0.0.53:53 listen uid 101 inode 15002", "udp 127.0.0.1:54 connected uid 101 inode 15003"}},
		"header only": {procTCP[:strings.IndexByte(procTCP, '\n')], all(port.TCP), nil},
	} {
		t.Run(name, func(t *testing.T) {
			sockets, err := parseProcNet(strings.NewReader(c.text), c.q, binary.LittleEndian)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range sockets {
				line := fmt.Sprintf("%s %s", s.Endpoint, s.State)
				if s.UID != nil {
					line += fmt.Sprintf(" uid %d inode %d", *s.UID, s.Inode)
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A big-endian machine prints addresses in another byte order, and ports in the
// same.
func TestParseProcNetBigEndian(t *testing.T) {
	line := strings.Replace(strings.Split(procTCP, "\n")[1], "0100007F", "7F000001", 1)
	line6 := strings.Replace(strings.Split(procTCP6, "\n")[4], "B80D0120000000000000000001000000", "20010DB8000000000000000000000001", 1)
	text := strings.Join([]string{"local_address", line, line6, ""}, "\n")
	sockets, err := parseProcNet(strings.NewReader(text), query{protocol: port.TCP}, binary.BigEndian)
	if got, want := describe(sockets), "127.0.0.1:8080 listen, [2001:db8::1]:82 listen"; err != nil || got != want {
		t.Errorf("%s (%v), want %s", got, err, want)
	}
}

func TestParseProcNetBroken(t *testing.T) {
	header, rest, _ := strings.Cut(procTCP, "\n")
	line, _, _ := strings.Cut(rest, "\n")
	for name, text := range map[string]string{
		"empty":           "",
		"no header":       rest,
		"cut line":        header + "\n" + line[:60],
		"empty line":      header + "\n\n" + line,
		"port":            header + "\n" + strings.Replace(line, ":1F90", ":1F9X", 1),
		"port too large":  header + "\n" + strings.Replace(line, ":1F90", ":11F90", 1),
		"no port":         header + "\n" + strings.Replace(line, ":1F90", "", 1),
		"short address":   header + "\n" + strings.Replace(line, "0100007F", "01007F", 1),
		"bad address":     header + "\n" + strings.Replace(line, "0100007F", "0100007G", 1),
		"state":           header + "\n" + strings.Replace(line, " 0A ", " -1 ", 1),
		"state too large": header + "\n" + strings.Replace(line, " 0A ", " 10A ", 1),
		"uid too large":   header + "\n" + strings.Replace(line, " 33 ", " 4294967296 ", 1),
		"nine fields":     header + "\n" + strings.Join(strings.Fields(line)[:9], " "),
		"uid":             header + "\n" + strings.Replace(line, " 33 ", " x ", 1),
		"inode":           header + "\n" + strings.Replace(line, "70213", "?", 1),
		"endless line":    header + "\n" + strings.Repeat("A", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parseProcNet(strings.NewReader(text), query{protocol: port.TCP, every: true}, binary.NativeEndian); err == nil {
				t.Errorf("no error, but %v", got)
			}
		})
	}
}

// The numbers are those of include/net/tcp_states.h.
func TestStateOf(t *testing.T) {
	for n, want := range map[byte]State{
		1: Connected, 2: Connected, 3: Connected, 4: Closing, 5: Closing, 6: TimeWait, 7: Bound, 8: Closing, 9: Closing,
		10: Listen, 11: Closing, 12: Connected, 13: Bound, 14: Closing,
	} {
		if got := stateOf(port.TCP, n); got != want {
			t.Errorf("TCP %d: %s, want %s", n, got, want)
		}
	}
	for n, want := range map[byte]State{1: Connected, 7: Listen} {
		if got := stateOf(port.UDP, n); got != want {
			t.Errorf("UDP %d: %s, want %s", n, got, want)
		}
	}
}

func TestParseStat(t *testing.T) {
	const rest = " S 1 812 812 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1 18446744073709551615 1 1\n"
	for _, name := range []string{"nginx", "", "a b", "two\nlines", ") S 1 (", "a) R 9 9 9 9", "((", "))", "##[add-mask]80", "\x1b[31m"} {
		got, err := parseStat([]byte("812 (" + name + ")" + rest))
		if err != nil || got.name != name || got.start != 4711 || got.state != "S" || got.parent != 1 || got.session != 812 || got.copied {
			t.Errorf("%q: %+v, %v", name, got, err)
		}
	}
	if got, err := parseStat([]byte("812 (nginx)" + strings.Replace(rest, "4194560", "4194624", 1))); err != nil || !got.copied {
		t.Errorf("a forked copy: %+v, %v", got, err)
	}
	for _, text := range []string{"", "812", "812 (nginx", "812 nginx)", ") (", "812 (nginx)", "812 (nginx) S 1", "812 nginx)" + rest, "812 nginx" + rest, "812 )nginx(" + rest, "812 (nginx)" + strings.Repeat(" 1", 19), "812 (nginx)" + strings.Replace(rest, "S 1", "S x", 1), "812 (nginx)" + strings.Replace(rest, "4711", "x", 1), "812 (nginx)" + strings.Replace(rest, "4711", "-1", 1)} {
		if got, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q: no error, but %+v", text, got)
		}
	}
}

func TestParseEffectiveUID(t *testing.T) {
	for text, want := range map[string]int{
		"Name:\tnginx\nUmask:\t0022\nUid:\t0\t33\t0\t33\nGid:\t5\t6\t7\t8\n": 33,
		"Name:\ta\\nUid:\t1\t1\t1\t1\nUid:\t2\t3\t4\t5\n":                    3, // the kernel escapes the newline of a name
		"Uid:\t0\t2147483647\t0\t0":                                          2147483647,
	} {
		if got, err := parseEffectiveUID([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "Name:\tUid:\n", "Uid:\t1\n", "Uid:\n", "Uid:\t1\tx\t1\t1\n", "Uid:\t1\t-1\t1\t1\n", "Uid:\t1\t4294967296\t1\t1\n", "xUid:\t1\t1\t1\t1\n"} {
		if got, err := parseEffectiveUID([]byte(text)); err == nil || got >= 0 {
			t.Errorf("%q: no error, but %d", text, got)
		}
	}
}

func TestParseCgroup(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	other := strings.Repeat("f", 64)
	for name, c := range map[string]struct{ text, unit, container string }{ // a container that only an engine can have named is followed by "!"
		"v2 service":                             {"0::/system.slice/nginx.service\n", "nginx.service", ""},
		"v2 scope":                               {"0::/user.slice/user-1000.slice/session-3.scope\n", "session-3.scope", ""},
		"v2 root":                                {"0::/\n", "", ""},
		"template unit":                          {"0::/system.slice/system-getty.slice/getty@tty1.service\n", "getty@tty1.service", ""},
		"delegated below a service":              {"0::/system.slice/shop.service/workers/1\n", "shop.service", ""},
		"user unit":                              {"0::/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service\n", "user@1000.service/shop.service", ""},
		"user unit in slices of slices":          {"0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-shop.slice/shop.service/x.service\n", "user@1000.service/shop.service", ""},
		"user manager":                           {"0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", "user@1000.service/init.scope", ""},
		"user's own directory":                   {"0::/user.slice/user-1000.slice/user@1000.service/x/postgresql.service\n", "user@1000.service/postgresql.service", ""},
		"another user's manager in one's own":    {"0::/user.slice/user-1000.slice/user@1000.service/user@0.service/x.service\n", "user@1000.service/user@0.service", ""},
		"unit in a delegated service":            {"0::/system.slice/runner.service/postgresql.service\n", "runner.service", ""},
		"slices and unit in a delegated service": {"0::/system.slice/runner.service/system.slice/postgresql.service\n", "runner.service", ""},
		"unit in a session":                      {"0::/user.slice/user-1000.slice/session-3.scope/postgresql.service\n", "session-3.scope", ""},
		"unit in no slice":                       {"0::/user/alice/postgresql.service\n", "", ""},
		"system container":                       {"0::/lxc.payload.c1/system.slice/nginx.service\n", "", ""},
		"nspawn":                                 {"0::/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service\n", "systemd-nspawn@web.service", ""},
		"escaped name":                           {"0::/system.slice/_cpu.service\n", "cpu.service", ""},
		"escaped underscore":                     {"0::/system.slice/__shop.service\n", "_shop.service", ""},
		"v1":                                     {"12:cpuset:/\n11:pids:/system.slice/nginx.service\n1:name=systemd:/system.slice/nginx.service\n", "nginx.service", ""},
		"v1: systemd's path goes first":          {"5:memory:/own.service\n1:name=systemd:/system.slice/nginx.service\n", "nginx.service", ""},
		"v1 without systemd":                     {"5:memory:/docker/" + id + "\n", "", id + "!"},
		"hybrid":                                 {"9:name=systemd:/system.slice/nginx.service\n8:pids:/\n0::/system.slice/nginx.service\n", "nginx.service", ""},
		"hybrid, moved in v2 only":               {"9:name=systemd:/\n8:pids:/\n0::/portcheck-test.service\n", "portcheck-test.service", ""},
		"path with a colon":                      {"0::/a:b.slice/c.service\n", "c.service", ""},
		"docker, cgroupfs":                       {"0::/docker/" + id + "\n", "", id + "!"},
		"docker, systemd":                        {"0::/system.slice/docker-" + id + ".scope\n", "", id + "!"},
		"docker, a slice of its own":             {"0::/ci.slice/ci-jobs.slice/docker-" + id + ".scope\n", "", id + "!"},
		"docker, a parent of its own":            {"0::/jobs/" + id + "\n", "", id},
		"docker on GitHub's runners":             {"0::/actions_job/" + id + "\n", "", id + "!"},
		"docker, a service inside":               {"0::/system.slice/docker-" + id + ".scope/system.slice/nginx.service\n", "", id + "!"},
		"docker in docker":                       {"0::/docker/" + other + "/docker/" + id + "\n", "", id},
		"docker in docker, systemd":              {"0::/system.slice/docker-" + other + ".scope/system.slice/docker-" + id + ".scope\n", "", id},
		"docker of a user":                       {"0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + id + ".scope\n", "user@1000.service", id},
		"in a delegated service":                 {"0::/system.slice/runner.service/docker-" + id + ".scope\n", "runner.service", id},
		"in a user's part of a hierarchy":        {"0::/user/alice/docker/" + id + "\n", "", id},
		"an engine's name below a slice":         {"0::/x.slice/docker/" + id + "\n", "", id},
		"a user's engine service":                {"0::/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service/" + id + "\n", "user@1000.service/docker.service", id},
		"podman":                                 {"0::/machine.slice/libpod-" + id + ".scope/container\n", "", id + "!"},
		"podman, cgroupfs":                       {"0::/libpod_parent/libpod-" + id + "/container\n", "", id + "!"},
		"podman, a pod":                          {"0::/machine.slice/machine-libpod_pod_" + other + ".slice/libpod-" + id + ".scope\n", "", id + "!"},
		"podman, quadlet":                        {"0::/system.slice/web.service/libpod-payload-" + id + "\n", "web.service", id},
		"podman, quadlet of a user":              {"0::/user.slice/user-1000.slice/user@1000.service/app.slice/qweb.service/libpod-payload-" + id + "\n", "user@1000.service/qweb.service", id},
		"podman of a user, pasta":                {"0::/user.slice/user-1000.slice/user@1000.service/user.slice/podman-614.scope\n", "user@1000.service/podman-614.scope", ""},
		"podman, quadlet of a user, pasta":       {"0::/user.slice/user-1000.slice/user@1000.service/app.slice/qweb.service/runtime\n", "user@1000.service/qweb.service", ""},
		"podman, quadlet, conmon":                {"0::/system.slice/rq.service/runtime\n", "rq.service", ""},
		"podman of a user":                       {"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope/container\n", "user@1000.service", id},
		"kubernetes, cgroupfs":                   {"0::/kubepods/besteffort/pod6d3c7b1e-0000-4000-8000-000000000000/" + id + "\n", "", id + "!"},
		"kubernetes, systemd":                    {"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6d3c.slice/cri-containerd-" + id + ".scope\n", "", id + "!"},
		"kubernetes, cri-o":                      {"0::/kubepods.slice/kubepods-pod6d3c.slice/crio-" + id + ".scope/container\n", "", id + "!"},
		"kubernetes, containerd's mixed drivers": {"0::/system.slice/containerd.service/kubepods-burstable-pod6d3c.slice:cri-containerd:" + id + "\n", "", id + "!"},
		"not quite an id":                        {"0::/docker/" + id[:63] + "\n0::/docker/" + strings.ToUpper(id) + "\n0::/docker/" + id + "0\n", "", ""},
		"suffix alone":                           {"0::/.service/.scope\n", "", ""},
		"broken lines":                           {"\n0\n0:\nfoo\n::\n0::/a.service", "a.service", ""},
		"empty":                                  {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := parseCgroup(c.text, nil)
			container, enginesOwn := strings.CutSuffix(c.container, "!")
			if got.unit != c.unit || got.container != container || got.enginesOwn != enginesOwn {
				t.Errorf("%+v; want unit %q, container %q", got, c.unit, c.container)
			}
		})
	}
}

func TestEngineOfACgroup(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for path, want := range map[string]string{
		"/docker/" + id: "docker", "/system.slice/docker-" + id + ".scope": "docker", "/actions_job/" + id: "docker", "/jobs/" + id: "",
		"/machine.slice/libpod-" + id + ".scope/container": "podman", "/machine.slice/libpod-conmon-" + id + ".scope": "podman", "/libpod_parent/" + id: "podman",
		"/system.slice/nerdctl-" + id + ".scope": "containerd", "/system.slice/cri-containerd-" + id + ".scope": "containerd", "/x.slice/crio-" + id + ".scope": "cri-o",
		"/kubepods/besteffort/pod6d3c/" + id: "kubernetes", "/kubepods.slice/kubepods-pod6d3c.slice/crio-" + id + ".scope": "kubernetes",
	} {
		if got := parseCgroup("0::"+path+"\n", nil).engine; got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// Paths are relative to the root of our cgroup namespace. Only if they lead to the
// top of the hierarchy, which the cgroup of kthreadd shows, the names in them are
// those that the system made.
func TestParseCgroupInNamespace(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	const container = "container" // no process at the top is in sight
	unknown := cgroupNames{unitUnknown: true, containerUnknown: true}
	for name, c := range map[string]struct {
		top, text string
		want      cgroupNames
	}{
		"at the top":                         {"0::/\n", "0::/system.slice/nginx.service\n", cgroupNames{unit: "nginx.service"}},
		"up to the top":                      {"0::/../..\n", "0::/../../system.slice/nginx.service\n", cgroupNames{unit: "nginx.service"}},
		"up to the top, a container":         {"0::/../..\n", "0::/../../docker/" + id + "\n", cgroupNames{container: id, enginesOwn: true}},
		"up to the top, at it":               {"0::/../..\n", "0::/../..\n", cgroupNames{}},
		"up to the top, a user's":            {"0::/../..\n", "0::/../../user.slice/user-1.slice/user@1.service/postgresql.service\n", cgroupNames{unit: "user@1.service/postgresql.service"}},
		"beside us":                          {"0::/../../../..\n", "0::/../x.service\n", unknown},
		"beside us, one level more":          {"0::/../../../..\n", "0::/../../system.slice/x.service\n", unknown},
		"beside us, a container":             {"0::/../..\n", "0::/../docker-" + id + ".scope\n", cgroupNames{container: id, unitUnknown: true}},
		"beside us, a container of a parent": {"0::/../..\n", "0::/../docker/" + id + "/x.service\n", cgroupNames{container: id, unitUnknown: true}},
		"the parent":                         {"0::/../..\n", "0::/..\n", unknown},
		"our root":                           {"0::/../..\n", "0::/\n", unknown},
		"below us":                           {"0::/../..\n", "0::/system.slice/x.service\n", unknown},
		"more levels than there are":         {"0::/..\n", "0::/../../x.service\n", unknown},
		"a name that starts like a level":    {"0::/..\n", "0::/..x.service\n", unknown},
		"a name like that at the top":        {"0::/\n", "0::/..x.service\n", cgroupNames{unit: "..x.service"}},
		"kthreadd is not at the top":         {"0::/../kthreads\n", "0::/../system.slice/x.service\n", unknown},
		"kthreadd is hidden":                 {"", "0::/../system.slice/x.service\n", unknown},
		"kthreadd is hidden, below us":       {"", "0::/system.slice/x.service\n", unknown},
		"in a container":                     {container, "0::/system.slice/nginx.service\n", cgroupNames{unit: "nginx.service"}},
		"in a container, outside of it":      {container, "0::/../x.service\n", unknown},
		"in a container, far outside":        {container, "0::/../../system.slice/x.service\n", unknown},
		"v1: each hierarchy has its root": {
			"9:name=systemd:/..\n4:memory:/../..\n0::/\n", "9:name=systemd:/../nginx.service\n4:memory:/../../nginx.service\n0::/\n", cgroupNames{unit: "nginx.service"},
		},
		"v1: systemd's path is not known": {
			"9:name=systemd:/../..\n4:memory:/\n", "9:name=systemd:/../x.service\n4:memory:/docker/" + id + "\n", unknown,
		},
		"v1: only another path is not known": {
			"9:name=systemd:/\n4:memory:/../..\n", "9:name=systemd:/system.slice/nginx.service\n4:memory:/../x\n", cgroupNames{unit: "nginx.service", containerUnknown: true},
		},
		"v1: an engine's container, another path is not known": {
			"9:name=systemd:/\n4:memory:/../..\n", "9:name=systemd:/docker/" + id + "\n4:memory:/../x\n", cgroupNames{container: id, enginesOwn: true},
		},
		"v1: a hierarchy that kthreadd does not have": {"0::/\n", "7:name=own:/x.service\n", unknown},
	} {
		root := parseCgroupRoot(c.top)
		if c.top == container {
			root = nil
		}
		got := parseCgroup(c.text, root)
		got.engine = "" // TestEngineOfACgroup
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestParseSocketLink(t *testing.T) {
	for link, want := range map[string]uint64{"socket:[1]": 1, "socket:[4026531840]": 4026531840, "socket:[9999999999999999999]": 9999999999999999999} {
		if got, ok := parseSocketLink([]byte(link)); !ok || got != want {
			t.Errorf("%s: %d, %t", link, got, ok)
		}
	}
	for _, link := range []string{"", "socket:[]", "socket:[", "socket:[1", "socket:[x]", "socket:[-1]", "socket:[1]x", "socket:[18446744073709551616]", "pipe:[1]", "/tmp/socket:[1]", "anon_inode:[eventpoll]"} {
		if got, ok := parseSocketLink([]byte(link)); ok {
			t.Errorf("%s: %d", link, got)
		}
	}
}

func TestParseReserved(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "8080": "8080", "8080,9148-9150": "8080,9148-9150", "0": "", "0,5": "5", "0-5": "1-5", "1-65535": "1-65535", "0-65535": "1-65535",
	} {
		if got, err := parseReserved(text); err != nil || got.String() != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "8080,", ",", "8080-", "-1", "2-1", "65536", "0-x", "8080 9090"} {
		if got, err := parseReserved(text); err == nil {
			t.Errorf("%q: no error, but %s", text, got)
		}
	}
}

func TestParseEphemeral(t *testing.T) {
	for text, want := range map[string]port.Range{"32768\t60999": {First: 32768, Last: 60999}, "1 65535": {First: 1, Last: 65535}, "5\t5": port.One(5)} {
		if got, err := parseEphemeral(text); err != nil || got != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "32768", "1 2 3", "9 8", "0 5", "x y", "1 65536", "1-2 3"} {
		if got, err := parseEphemeral(text); err == nil {
			t.Errorf("%q: no error, but %s", text, got)
		}
	}
}

// gVisor's udp6 has a header, and never a row. Its header is that of tcp6.
func TestTableOfGVisor(t *testing.T) {
	const header = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	if sockets, err := parseProcNet(strings.NewReader(header), query{protocol: port.UDP}, binary.LittleEndian); err == nil {
		t.Errorf("no error, but %v", sockets)
	}
	if _, err := parseProcNet(strings.NewReader(header), query{protocol: port.TCP}, binary.LittleEndian); err != nil {
		t.Error(err)
	}
}

// The name of a container comes from a conmon that Podman has started alone.
func TestParseMonitor(t *testing.T) {
	const id = "e28f129451bd6fa635fd512d13de776eb37b376d65cc1f4c2f9baa4287fa9804"
	const podman = " --exit-dir /run/libpod/exits --full-attach --exit-command /usr/bin/podman --exit-command-arg -n --exit-command-arg other"
	for line, want := range map[string]string{
		"/usr/bin/conmon --api-version 1 -c " + id + " -u " + id + " -r /usr/bin/runc -b /var/x -p /run/x -n web" + podman: "web",
		"conmon --cid=" + id + " --name=web -t" + podman:                                                                   "web",
		"conmon -b -n -c " + id + " -n web" + podman:                                                                       "web",
		"conmon -c " + id + podman:                                                                                         "",
		"conmon -c " + id + " -n k8s_POD_x --exit-dir /var/run/crio/exits":                                                 "none",
		"conmon -c " + id[1:] + " -n web" + podman:                                                                         "none",
		"conmon -c " + strings.ToUpper(id) + " -n web" + podman:                                                            "none",
		"conmon -c " + id + " -n .." + podman:                                                                              "none",
		"conmon -c " + id + " -n a\x1b[2J" + podman:                                                                        "none",
		"conmon -c " + id + " -n --all" + podman:                                                                           "none",
		"conmon -n web" + podman:                                                                                           "none",
		"conmon -c " + id + " -n " + strings.Repeat("x", nameLimit+1) + podman:                                             "none",
		"conmon -c": "none",
		"":          "none",
	} {
		gotID, name := parseMonitor([]byte(strings.ReplaceAll(line, " ", "\x00") + "\x00"))
		if gotID == "" {
			name = "none"
		} else if gotID != id {
			t.Errorf("%q: ID %q", line, gotID)
		}
		if name != want {
			t.Errorf("%q: %q, want %q", line, name, want)
		}
	}
}

func TestOnTerm(t *testing.T) {
	for text, want := range map[string][2]bool{
		"NSpid:\t29\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n":     {false, false},
		"NSpid:\t29\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000004000\n":     {true, false},
		"NSpid:\t29\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000004000\nSigCgt:\t0000000000000000\n":     {false, true},
		"NSpid:\t29\nSigBlk:\t0000000000004000\nSigIgn:\t0000000000004000\nSigCgt:\t0000000000000000\n":     {true, false},
		"NSpid:\t29\t11\nSigBlk:\t0000000000000000\nSigIgn:\t0000000001001000\nSigCgt:\t0000000000000002\n": {false, false},
		"NSpid:\t29\t1\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000002\n":  {false, true},
		"NSpid:\t29\t1\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000004002\n":  {true, false},
		"SigBlk:\t0000000000000000\nSigIgn:\t0000000000004000\nSigCgt:\t0000000000000000\n":                 {false, true},
	} {
		if handled, ignored, err := onTerm([]byte(text)); err != nil || [2]bool{handled, ignored} != want {
			t.Errorf("%q: %v, %v, %v", text, handled, ignored, err)
		}
	}
	for _, text := range []string{"", "SigBlk:\t0\nSigIgn:\t0\n", "SigBlk:\t0\nSigIgn:\tx\nSigCgt:\t0\n", "SigBlk:\t0\nSigIgn:\nSigCgt:\t0\n"} {
		if handled, ignored, err := onTerm([]byte(text)); err == nil || handled || ignored {
			t.Errorf("%q: %v, %v, %v", text, handled, ignored, err)
		}
	}
}
