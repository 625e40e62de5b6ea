package host

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

var (
	denyNetlink = testbed.Denial{Call: unix.SYS_SOCKET, Arg: unix.AF_NETLINK, Errno: unix.EPERM}
	denyIPv6    = testbed.Denial{Call: unix.SYS_SOCKET, Arg: unix.AF_INET6, Errno: unix.EAFNOSUPPORT}
)

// Without descriptors nothing can be found out, and nothing is reported as free.
func TestNoDescriptors(t *testing.T) {
	if !inParallel(t) {
		return
	}
	holder(t, tcpListener("127.0.0.1:8080"))
	none := 0
	facts := probeWith(t, testbed.Faults{MoreFiles: &none}, Request{
		Tries: tries(t, "tcp any 8080", "udp loopback 8081", "tcp any 8082-8083").Tries,
		Scans: []Scan{{Binding: try(t, "tcp any 1").Binding, Ports: try(t, "tcp any 8080-8090").ports()}},
		Dials: []Dial{{Host: "127.0.0.1", Port: 8080}},
	})
	const emfile = "failed(socket EMFILE)"
	for i, want := range []string{emfile, emfile + " " + emfile, emfile + " " + emfile} {
		if got := outcomes(facts.Tried[i].Attempts); got != want {
			t.Errorf("try %d: %s, want %s", i, got, want)
		}
		if facts.Tried[i].TableOK {
			t.Errorf("try %d: a table", i)
		}
	}
	if len(facts.Open) != 1 || len(facts.Open[0]) > 0 {
		t.Errorf("open: %v", facts.Open)
	}
	if !facts.Machine.IPv6 {
		t.Error("the machine has no IPv6, though only descriptors are missing")
	}
	if got := outcomes(facts.Dialed); got != emfile {
		t.Errorf("connect: %s, want %s", got, emfile)
	}
	wantGap(t, facts, Gap{Op: "open /proc/thread-self/net/tcp", Errno: "EMFILE", Kind: GapSockets})
	wantGap(t, facts, Gap{Op: "read /proc/sys/net/ipv4/ip_local_port_range", Errno: "EMFILE"})
}

// A binding of several sockets needs as many descriptors; what can't be held
// at the same time is not ok.
func TestFewDescriptors(t *testing.T) {
	if !inParallel(t) {
		return
	}
	holder(t, tcpListener("127.0.0.1:8085"), tcpListener("127.0.0.1:8086"))
	one := 1
	facts := probeWith(t, testbed.Faults{MoreFiles: &one}, tries(t, "tcp loopback 8080", "tcp any4 8081-8084", "tcp any4 8085-8086"))
	for i, want := range []string{"ok failed(socket EMFILE)", "ok ok ok ok", "in-use in-use"} {
		if got := outcomes(facts.Tried[i].Attempts); got != want {
			t.Errorf("try %d: %s, want %s", i, got, want)
		}
	}
}

// Where netlink is forbidden, as in some containers, /proc/net answers.
func TestNetlinkDenied(t *testing.T) {
	if !inParallel(t) {
		return
	}
	pid := holder(t, tcpListener("127.0.0.1:8080"), udpSocket("[::1]:8081"), sock{Protocol: "tcp", Addr: "127.0.0.1:8082", Reuse: true}).Process.Pid
	req := tries(t, "tcp any 8080", "udp any 8081", "tcp any 8082", "tcp any 8083")
	req.Scans = []Scan{{Binding: req.Tries[0].Binding, Ports: try(t, "tcp any 8079-8081").ports()}}
	facts := probeWith(t, testbed.Faults{Deny: []testbed.Denial{denyNetlink}}, req)
	for i, want := range []string{"in-use", "in-use", "ok", "ok"} {
		if got := outcomes(facts.Tried[i].Attempts); got != want {
			t.Errorf("try %d: %s, want %s", i, got, want)
		}
		if !facts.Tried[i].TableOK {
			t.Errorf("try %d: no table", i)
		}
	}
	if got, want := describe(facts.Sockets), "127.0.0.1:8080 listen, [::1]:8081 listen"; got != want {
		t.Errorf("sockets %s, want %s", got, want)
	}
	for _, s := range facts.Sockets {
		if pids := pidsOf(s); len(pids) != 1 || pids[0] != pid || !s.Complete {
			t.Errorf("%s, want pid %d", encode(s), pid)
		}
	}
	if got := facts.Open[0].String(); got != "8079,8081" {
		t.Errorf("open: %s", got)
	}
	wantGap(t, facts, Gap{Op: "socket(AF_NETLINK)", Errno: "EPERM", Kind: GapSockets})
	for i, g := range facts.Gaps { // of two passes over the table
		if slices.Contains(facts.Gaps[:i], g) {
			t.Errorf("%+v is there twice", g)
		}
	}
	text := encode(facts.Gaps)
	if len(facts.Gaps) != 2 || !strings.Contains(text, "tcp sockets are read from /proc/net, which does not show") || !strings.Contains(text, `udp sockets are read from /proc/net"`) {
		t.Errorf("gaps %s", text)
	}
}

// Without netlink, a failed bind has its TIME_WAIT socket from /proc/net, once.
func TestNetlinkDeniedTimeWait(t *testing.T) {
	if !inParallel(t) {
		return
	}
	timeWait(t, true)
	facts := probeWith(t, testbed.Faults{Deny: []testbed.Denial{denyNetlink}}, tries(t, "tcp any 8080", "tcp any 8080 exclusive"))
	if got := outcomes(facts.Tried[0].Attempts) + " " + outcomes(facts.Tried[1].Attempts); got != "ok in-use" {
		t.Error(got)
	}
	if got, want := describe(facts.Sockets), "127.0.0.1:8080 time-wait"; got != want {
		t.Errorf("sockets %s, want %s", got, want)
	}
}

// Without any table a bind that works proves little, and one that would share
// a running server's traffic must not be made.
func TestNoTable(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedRoot(t)
	holder(t, tcpListener("127.0.0.1:8080"), sock{Protocol: "udp", Addr: "127.0.0.1:8081", Reuse: true, ReusePort: true})
	req := tries(t, "tcp any 8080", "tcp any 8082", "udp any 8081 reuse", "udp any 8081 shared", "tcp any 8082 shared")
	req.Scans = []Scan{{Binding: req.Tries[0].Binding, Ports: try(t, "tcp any 8079-8081").ports()}}
	facts := probeWith(t, testbed.Faults{HideProc: true, Deny: []testbed.Denial{denyNetlink}}, req)
	for i, want := range []string{"in-use", "ok", "not-tried", "not-tried", "not-tried"} {
		if got := outcomes(facts.Tried[i].Attempts); got != want {
			t.Errorf("try %d: %s, want %s", i, got, want)
		}
		if facts.Tried[i].TableOK {
			t.Errorf("try %d: a table", i)
		}
	}
	if len(facts.Sockets) > 0 || len(facts.Open[0]) > 0 {
		t.Errorf("sockets %s, open %s", describe(facts.Sockets), facts.Open[0])
	}
	for _, protocol := range []string{"tcp", "udp"} {
		wantGap(t, facts, Gap{Op: "open /proc/thread-self/net/" + protocol, Errno: "ENOENT", Kind: GapSockets})
		if !strings.Contains(encode(facts.Gaps), "(socket(AF_NETLINK): EPERM)") {
			t.Errorf("sock_diag is not mentioned: %s", encode(facts.Gaps))
		}
	}
	for _, g := range facts.Gaps {
		if g.Kind == GapLeases {
			t.Errorf("leases need no table: %s", g.What)
		}
	}
	wantGap(t, facts, Gap{Op: "read /proc/sys/net/ipv4/ip_unprivileged_port_start", Errno: "ENOENT"})
	if facts.Limits.Ephemeral != defaultEphemeral || facts.Limits.UnprivilegedFrom != defaultUnprivilegedFrom {
		t.Errorf("%+v", facts.Limits)
	}
	if facts.Machine.Namespace.Kind != NamespaceUnknown {
		t.Errorf("%+v", facts.Machine.Namespace)
	}
}

// Without AF_UNIX the kernel's list shows that nothing is leased. Without that it is not known.
func TestLeasesAreNotKnown(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedRoot(t)
	denyUnix := testbed.Denial{Call: unix.SYS_SOCKET, Arg: unix.AF_UNIX, Errno: unix.EAFNOSUPPORT}
	for _, hidden := range []bool{false, true} {
		facts := probeWith(t, testbed.Faults{HideProc: hidden, Deny: []testbed.Denial{denyUnix}}, tries(t, "udp any 8080"))
		if got := slices.ContainsFunc(facts.Gaps, func(g Gap) bool { return g.Kind == GapLeases && strings.Contains(g.What, "allow portcheck AF_UNIX") }); got != hidden {
			t.Errorf("/proc is hidden: %t: %s", hidden, encode(facts.Gaps))
		}
	}
}

// An unreadable /proc leaves sockets without holders.
func TestProcHidden(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedRoot(t)
	holder(t, tcpListener("127.0.0.1:8080"))
	facts := probeWith(t, testbed.Faults{HideProc: true}, tries(t, "tcp any 8080"))
	if got := outcomes(facts.Tried[0].Attempts); got != "in-use" || !facts.Tried[0].TableOK {
		t.Errorf("%s, table %t", got, facts.Tried[0].TableOK)
	}
	if s := onlySocket(t, facts); len(s.Holders) > 0 || s.Complete || s.UID == nil || *s.UID != 0 {
		t.Errorf("%s", encode(s))
	}
	wantGap(t, facts, Gap{Op: "read /proc", Errno: "ENOENT", Kind: GapHolders})
}

// The processes of another PID namespace are not in our /proc, so there is no
// holder.
func TestHolderInAnotherPIDNamespace(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedRoot(t)
	holder(t, tcpListener("127.0.0.1:8080"))
	facts := probeWith(t, testbed.Faults{OwnPIDs: true}, tries(t, "tcp any 8080"))
	if s := onlySocket(t, facts); len(s.Holders) > 0 || s.Complete {
		t.Errorf("%s", encode(s))
	}
	wantGap(t, facts, Gap{Kind: GapHolders})
}

// On a machine without IPv6, 0.0.0.0 is tried instead of [::].
func TestNoIPv6(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedRoot(t)
	holder(t, tcpListener("127.0.0.1:8080"))
	// Without /proc, nothing shows that the kernel has IPv6.
	facts := probeWith(t, testbed.Faults{HideProc: true, Deny: []testbed.Denial{denyIPv6}}, tries(t,
		"tcp any 8080", "tcp any 8081", "tcp loopback 8081", "tcp any6 8081", "tcp ::1 8081", "udp any 8080-8081", "tcp any4 8080"))
	for i, want := range []string{"no-family in-use", "no-family ok", "ok no-family", "no-family", "no-family", "no-family ok no-family ok", "in-use"} {
		if got := outcomes(facts.Tried[i].Attempts); got != want {
			t.Errorf("try %d: %s, want %s", i, got, want)
		}
		if !facts.Tried[i].TableOK {
			t.Errorf("try %d: no table", i)
		}
	}
	first := facts.Tried[0].Attempts
	if first[0].Addr.String() != "::" || first[0].Op != "socket" || first[0].Errno != "EAFNOSUPPORT" || first[1].Addr.String() != "0.0.0.0" || first[1].Port != 8080 {
		t.Errorf("%s", encode(first))
	}
	if facts.Machine.IPv6 {
		t.Error("the machine has IPv6, want none")
	}
	if got, want := describe(facts.Sockets), "127.0.0.1:8080 listen"; got != want {
		t.Errorf("sockets %s, want %s", got, want)
	}
}

// Where a filter forbids IPv6 sockets to portcheck, the machine has IPv6 all the same, and
// nothing says that an IPv6 endpoint is free.
func TestIPv6Filtered(t *testing.T) {
	if !inParallel(t) {
		return
	}
	holder(t, sock{Protocol: "tcp", Addr: "[::]:8080", V6Only: true, Listen: true}, tcpListener("[::1]:8081"))
	facts := probeWith(t, testbed.Faults{Deny: []testbed.Denial{denyIPv6}}, tries(t,
		"tcp any 8080", "tcp loopback 8081", "udp any 8082", "tcp any4 8080"))
	const failed = "failed(socket EAFNOSUPPORT)"
	for i, want := range []string{failed, "ok " + failed, failed, "ok"} {
		if got := outcomes(facts.Tried[i].Attempts); got != want || !facts.Tried[i].TableOK {
			t.Errorf("try %d: %s, table %t, want %s", i, got, facts.Tried[i].TableOK, want)
		}
	}
	if !facts.Machine.IPv6 {
		t.Error("the machine has no IPv6")
	}
	if got, want := describe(facts.Sockets), "[::1]:8081 listen, [::]:8080 listen v6only"; got != want {
		t.Errorf("sockets %s, want %s", got, want)
	}
}

// Any other error of a bind is a failure with its errno.
func TestBindFails(t *testing.T) {
	if !inParallel(t) {
		return
	}
	for errno, want := range map[unix.Errno]string{
		unix.ENOBUFS: "failed(bind ENOBUFS)", unix.ENOMEM: "failed(bind ENOMEM)",
		unix.EPERM: "denied(bind EPERM)", unix.EACCES: "denied(bind EACCES)",
	} {
		deny := testbed.Denial{Call: unix.SYS_BIND, Arg: -1, Errno: errno}
		facts := probeWith(t, testbed.Faults{Deny: []testbed.Denial{deny}}, tries(t, "tcp any 8080", "udp loopback 8080"))
		for i, want := range []string{want, want + " " + want} {
			if got := outcomes(facts.Tried[i].Attempts); got != want {
				t.Errorf("%s: try %d: %s, want %s", unix.ErrnoName(errno), i, got, want)
			}
		}
		if len(facts.Gaps) > 0 {
			t.Errorf("gaps %s, though the table needs no bind", encode(facts.Gaps))
		}
	}
}

// If descriptors can't be read, holders are unknown, and there is a gap.
func TestDescriptorsCannotBeRead(t *testing.T) {
	if !inParallel(t) {
		return
	}
	holder(t, tcpListener("127.0.0.1:8080"))
	deny := testbed.Denial{Call: unix.SYS_READLINKAT, Arg: -1, Errno: unix.EPERM}
	facts := probeWith(t, testbed.Faults{Deny: []testbed.Denial{deny}}, tries(t, "tcp any 8080"))
	if s := onlySocket(t, facts); len(s.Holders) > 0 || s.Complete {
		t.Errorf("%s", encode(s))
	}
	wantGap(t, facts, Gap{Op: "readlink /proc/PID/fd", Errno: "EPERM", Kind: GapHolders})
}

func TestSetsockoptFails(t *testing.T) {
	if !inParallel(t) {
		return
	}
	deny := testbed.Denial{Call: unix.SYS_SETSOCKOPT, Arg: -1, Errno: unix.ENOPROTOOPT}
	facts := probeWith(t, testbed.Faults{Deny: []testbed.Denial{deny}}, tries(t, "tcp any4 8080", "udp any4 8080"))
	if got := outcomes(facts.Tried[0].Attempts); got != "failed(setsockopt ENOPROTOOPT)" {
		t.Error(got)
	}
	if got := outcomes(facts.Tried[1].Attempts); got != "ok" {
		t.Errorf("a socket without options: %s", got)
	}
}

// With IPv6 disabled by sysctl, there is the family, but no address.
func TestIPv6Disabled(t *testing.T) {
	if !inParallel(t) {
		return
	}
	sysctl(t, "ipv6/conf/all/disable_ipv6", "1")
	facts := probeHere(t, tries(t, "tcp any 8080", "tcp loopback 8080", "tcp ::1 8080", "tcp any6 8080", "tcp any4 8080"))
	for i, want := range []string{"ok", "ok no-address", "no-address", "ok", "ok"} {
		if got := outcomes(facts.Tried[i].Attempts); got != want {
			t.Errorf("try %d: %s, want %s", i, got, want)
		}
	}
}

// "any" is dual-stack whatever net.ipv6.bindv6only is.
func TestBindV6OnlyDefault(t *testing.T) {
	if !inParallel(t) {
		return
	}
	sysctl(t, "ipv6/bindv6only", "1")
	holder(t, tcpListener("127.0.0.1:8080"), tcpListener("[::]:8081"))
	facts := probeHere(t, tries(t, "tcp any 8080", "tcp any6 8080", "tcp any4 8081", "tcp any 8081"))
	for i, want := range []string{"in-use", "ok", "ok", "in-use"} {
		if got := outcomes(facts.Tried[i].Attempts); got != want {
			t.Errorf("try %d: %s, want %s", i, got, want)
		}
	}
	if got, want := describe(facts.Sockets), "127.0.0.1:8080 listen, [::]:8081 listen v6only"; got != want {
		t.Errorf("sockets %s, want %s", got, want)
	}
}

// /proc/net does not show V6ONLY. A bind without an option to share proves it, and
// nothing else does.
func TestNetlinkDeniedV6Only(t *testing.T) {
	if !inParallel(t) {
		return
	}
	for _, s := range []sock{
		{Protocol: "tcp", Addr: "[::]:8080", Reuse: true, V6Only: true, Listen: true},
		{Protocol: "tcp", Addr: "[::]:8081", Reuse: true, Listen: true},
		{Protocol: "udp", Addr: "[::]:8080", Reuse: true, ReusePort: true, V6Only: true},
		{Protocol: "udp", Addr: "[::]:8081", Reuse: true, ReusePort: true},
	} {
		s.hold(t)
	}
	for _, c := range []struct{ try, outcomes, sockets string }{
		{"tcp any4 8080", "ok", ""},
		{"tcp any4 8080 exclusive", "ok", ""},
		{"tcp 127.0.0.1 8080 shared", "ok", ""},
		{"tcp any6 8080", "in-use", "[::]:8080 listen"},
		{"tcp any4 8081", "in-use", "[::]:8081 listen"},
		{"tcp 127.0.0.1 8081 shared", "not-tried", "[::]:8081 listen"},
		{"udp any4 8080", "ok", ""},
		{"udp any4 8080 reuse", "ok", ""},
		{"udp any4 8080 shared", "ok", ""},
		{"udp any4 8081", "in-use", "[::]:8081 listen"},
		{"udp any4 8081 reuse", "not-tried", "[::]:8081 listen"},
		{"udp any4 8081 shared", "not-tried", "[::]:8081 listen"},
		{"tcp any4 8080 look", "not-tried", "[::]:8080 listen"},
	} {
		facts := probeWith(t, testbed.Faults{Deny: []testbed.Denial{denyNetlink}}, tries(t, c.try))
		if got := outcomes(facts.Tried[0].Attempts); got != c.outcomes {
			t.Errorf("%s: %s, want %s", c.try, got, c.outcomes)
		}
		if got := describe(facts.Sockets); got != c.sockets {
			t.Errorf("%s: sockets %s, want %s", c.try, got, c.sockets)
		}
		for _, s := range facts.Sockets {
			if !s.MayBeV6Only {
				t.Errorf("%s: %s, of which the table does not show V6ONLY", c.try, encode(s))
			}
		}
	}
	// What one need proves holds for the others of the run.
	facts := probeWith(t, testbed.Faults{Deny: []testbed.Denial{denyNetlink}}, tries(t, "tcp any6 8080", "tcp any4 8080", "tcp any4 8080 look"))
	if got := outcomes(facts.Tried[1].Attempts); got != "ok" {
		t.Errorf("beside another need: %s", got)
	}
	if got, want := describe(facts.Sockets), "[::]:8080 listen v6only"; got != want {
		t.Errorf("sockets %s, want %s", got, want)
	}
}

// A table that can't show a socket that is bound and does not listen is known to be
// one.
func TestBoundHidden(t *testing.T) {
	if !inParallel(t) {
		return
	}
	holder(t, sock{Protocol: "tcp", Addr: "127.0.0.1:8080"})
	req := tries(t, "tcp any 8080", "udp any 8080")
	facts := probeWith(t, testbed.Faults{Deny: []testbed.Denial{denyNetlink}}, req)
	if got := outcomes(facts.Tried[0].Attempts); got != "in-use" || !facts.Tried[0].BoundHidden || len(facts.Sockets) > 0 {
		t.Errorf("/proc/net: %s", encode(facts))
	}
	if facts.Tried[1].BoundHidden {
		t.Error("a UDP socket is hidden in /proc/net")
	}
	facts = probeHere(t, req)
	if shown := len(facts.Sockets) == 1; facts.Tried[0].BoundHidden == shown {
		t.Errorf("sock_diag: %s", encode(facts))
	}
}

func TestKernelAtLeast(t *testing.T) {
	for release, want := range map[string]bool{
		"5.10.0-46-cloud-amd64": false, "4.18.0-553.el8_10.x86_64": false, "6.1.0-56-cloud-amd64": false, "6.7": false, "6.8": true, "6.8.0-31-generic": true,
		"6.12.118+deb13-cloud-amd64": true, "6.18.44-fc-v857": true, "7.3.4+deb13-cloud-arm64": true, "10.0": true, "": true, "x": true,
	} {
		if got := atLeast(release, 6, 8); got != want {
			t.Errorf("%q: %t, want %t", release, got, want)
		}
	}
}

// A connected socket that was bound to [::] blocks 0.0.0.0, though both its ends are
// IPv6 addresses.
func TestDualStackConnectionBlocksIPv4(t *testing.T) {
	if !inParallel(t) {
		return
	}
	server := tcpListener("[::1]:9000").hold(t)
	connect(t, "[::]:8080", false, "[::1]:9000")
	accept(t, server)
	udp := udpSocket("[::]:8080").hold(t)
	if err := unix.Connect(udp, sockaddr(netip.MustParseAddrPort("[::1]:9001"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ try, outcomes, sockets string }{
		{"tcp any4 8080", "in-use", "[::1]:8080 connected"},
		{"udp any4 8080", "in-use", "[::1]:8080 connected"},
		{"tcp 127.0.0.1 8080", "ok", ""},
		{"tcp any 8080", "in-use", "[::1]:8080 connected"},
	} {
		for name, facts := range map[string]Facts{
			"sock_diag": probeHere(t, tries(t, c.try)),
			"/proc/net": probeWith(t, testbed.Faults{Deny: []testbed.Denial{denyNetlink}}, tries(t, c.try)),
		} {
			if got := outcomes(facts.Tried[0].Attempts); got != c.outcomes || describe(facts.Sockets) != c.sockets {
				t.Errorf("%s by %s: %s, %s; want %s, %s", c.try, name, got, describe(facts.Sockets), c.outcomes, c.sockets)
			}
			for _, s := range facts.Sockets {
				if pids := pidsOf(s); !slices.Contains(pids, os.Getpid()) {
					t.Errorf("%s by %s: holders %v", c.try, name, pids)
				}
			}
		}
	}
}

// The index of a device is found without netlink.
func TestNetlinkDeniedZone(t *testing.T) {
	if !inParallel(t) {
		return
	}
	sysctl(t, "ipv6/ip_nonlocal_bind", "1")
	facts := probeWith(t, testbed.Faults{Deny: []testbed.Denial{denyNetlink}}, tries(t, "tcp fe80::1%lo 8080", "tcp fe80::1%1 8080", "tcp fe80::1%none 8080"))
	for i, want := range []string{"ok", "ok", "no-address"} {
		if got := outcomes(facts.Tried[i].Attempts); got != want {
			t.Errorf("try %d: %s, want %s", i, got, want)
		}
	}
	if got := facts.Tried[1].Attempts[0].Device; got != "lo" {
		t.Errorf("device %q, want lo", got)
	}
}

// Whether the host has an address is then not known, and nothing is said.
func TestNetlinkDeniedNonlocal(t *testing.T) {
	if !inParallel(t) {
		return
	}
	sysctl(t, "ipv4/ip_nonlocal_bind", "1")
	req := tries(t, "tcp 192.0.2.1 8080")
	if tried := probeHere(t, req).Tried[0]; len(tried.Unreached) != 1 {
		t.Errorf("%+v", tried)
	}
	tried := probeWith(t, testbed.Faults{Deny: []testbed.Denial{denyNetlink}}, req).Tried[0]
	if outcomes(tried.Attempts) != "ok" || len(tried.Unreached) > 0 {
		t.Errorf("by /proc/net: %+v", tried)
	}
}

// Of ports that the job is known to hold the keeper is not asked: it may be late.
func TestKeeperThatIsLate(t *testing.T) {
	if !inParallel(t) {
		return
	}
	l, err := net.Listen("unix", "@portcheck/1/tcp/8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	req := tries(t, "tcp any 8080")
	req.Job, req.LeaseBudget = "7", time.Millisecond
	for _, held := range [][]LeasePort{nil, {{Protocol: port.TCP, Port: 8080}}} {
		req.Held = held
		facts := probeWith(t, testbed.Faults{}, req)
		if got := outcomes(facts.Tried[0].Attempts); strings.Contains(got, "ok") != (held != nil) {
			t.Errorf("held: %v: got %s", held, got)
		}
	}
}
