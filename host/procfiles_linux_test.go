package host

import (
	"context"
	"encoding/binary"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/org/portcheck/port"
)

// filesHere probes this machine by its files.
func filesHere(t *testing.T, req Request) Facts {
	t.Helper()
	read := func(_ context.Context, path string) ([]byte, error) { return os.ReadFile(path) }
	facts, err := FromFiles(read, Machine{Arch: runtime.GOARCH, UID: os.Geteuid()}, "x").Probe(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

// A probe by files finds the same as a local one, except for sockets that are
// bound and do not listen, and for V6ONLY.
func TestFilesAndLocalAgree(t *testing.T) {
	if !inParallel(t) {
		return
	}
	holder(t, tcpListener("127.0.0.1:8079"), tcpListener("[::1]:8081"), tcpListener("0.0.0.0:8082"), tcpListener("[::]:8083"),
		sock{Protocol: port.TCP, Addr: "[::]:8084", V6Only: true, Listen: true},
		udpSocket("127.0.0.1:8080"), udpSocket("[::]:8081"), sock{Protocol: port.TCP, Addr: "127.0.0.1:8085"})
	timeWait(t, true)
	connect(t, "127.0.0.1:8087", true, "127.0.0.1:8082")
	specs := []string{"tcp any 8079-8088 look", "udp any 8079-8088 look", "tcp loopback 8079-8088 look"}
	req := tries(t, specs...)
	req.Listeners = true
	here, files := probeHere(t, req), filesHere(t, req)
	var want []Socket
	for _, s := range here.Sockets {
		if s.V6Only = false; s.State == Listen {
			want = append(want, s)
		}
	}
	var held []Socket
	for _, s := range files.Sockets {
		if s.State == Listen {
			held = append(held, s)
		}
	}
	if got, want := describe(held), describe(want); got != want || len(held) < 7 {
		t.Errorf("the files show %s\nthe machine  %s", got, want)
	}
	for i, s := range held {
		if o := want[slices.IndexFunc(want, func(o Socket) bool { return o.Endpoint == s.Endpoint })]; *o.UID != *s.UID || o.Inode != s.Inode {
			t.Errorf("%d: %s, want %s", i, encode(s), encode(o))
		}
	}
	for _, s := range []string{"127.0.0.1:8080 time-wait", "127.0.0.1:8087 connected"} {
		if !strings.Contains(describe(files.Sockets), s) {
			t.Errorf("no %s in %s", s, describe(files.Sockets))
		}
	}
	if got, want := encode(files.Limits), encode(here.Limits); got != want {
		t.Errorf("limits %s, want %s", got, want)
	}
	if here.Machine.BootID != files.Machine.BootID || here.Machine.IPv6 != files.Machine.IPv6 || here.Machine.Elevated != files.Machine.Elevated {
		t.Errorf("%+v\n%+v", here.Machine, files.Machine)
	}
}

// Addresses that can't be bound are those that the files do not have.
func TestFilesAddresses(t *testing.T) {
	if !inParallel(t) {
		return
	}
	specs := []string{
		"tcp any 9000", "tcp any4 9000", "tcp any6 9000", "tcp loopback 9000", "tcp 127.0.0.1 9000", "tcp 127.1.2.3 9000",
		"tcp 192.0.2.1 9000", "tcp ::1 9000", "tcp 2001:db8::1 9000", "tcp fe80::1%lo 9000", "udp any 9000-9001",
	}
	compare := func(when string) {
		here, files := probeHere(t, tries(t, specs...)), filesHere(t, tries(t, specs...))
		for i, spec := range specs {
			want := strings.ReplaceAll(outcomes(here.Tried[i].Attempts), "ok", "not-tried")
			if got := outcomes(files.Tried[i].Attempts); got != want {
				t.Errorf("%s, %s: %s by the files, %s by a bind", when, spec, got, want)
			}
		}
	}
	compare("IPv6 on")
	sysctl(t, "ipv4/ip_nonlocal_bind", "1")
	sysctl(t, "ipv6/ip_nonlocal_bind", "1")
	compare("any address may be bound")
	sysctl(t, "ipv4/ip_nonlocal_bind", "0")
	sysctl(t, "ipv6/ip_nonlocal_bind", "0")
	sysctl(t, "ipv6/conf/all/disable_ipv6", "1")
	compare("IPv6 off")
}

// A long list of reserved ports is read in pieces, of which the kernel returns
// only the first one. It is not taken for the whole list.
func TestFilesLongListOfReservedPorts(t *testing.T) {
	if !inParallel(t) {
		return
	}
	var many []string
	for n := 1; n <= port.MaxPort; n += 2 {
		many = append(many, strconv.Itoa(n))
	}
	sysctl(t, "ipv4/ip_local_reserved_ports", strings.Join(many, ","))
	facts := filesHere(t, Request{})
	wantGap(t, facts, Gap{Op: "read /proc/sys/net/ipv4/ip_local_reserved_ports", Errno: errCutShort.Error()})
	if len(facts.Limits.Reserved) > 0 {
		t.Errorf("reserved: %.100s", facts.Limits.Reserved)
	}
}

// Whatever the files hold, the probe returns, and a table that is reported as
// whole has only lines that parse.
func FuzzFiles(f *testing.F) {
	all := machineFiles()
	f.Add(all["/proc/net/tcp"], all["/proc/net/tcp6"], all[ifInet6Path], all[fibTriePath], all["/proc/self/status"], "amd64")
	f.Add(all["/proc/net/tcp"], "", "", "Local:\n", "", "s390x")
	f.Add(procTCP, procTCP6, "x", "Local:\n  |-- ::1\n     /32 host LOCAL\n", "Uid:\nCapEff:\n", "ppc64le")
	f.Fuzz(func(t *testing.T, tcp, tcp6, addresses, trie, status, arch string) {
		files := changed(map[string]string{
			"/proc/net/tcp": tcp, "/proc/net/tcp6": tcp6, ifInet6Path: addresses, fibTriePath: trie, statusPath: status,
		})
		req := Request{
			Tries: []Try{tcpTry(port.Any, 8080, 8081), tcpTry("192.0.2.5", 1, 1), tcpTry("fe80::1%2", 1, 1)},
			Scans: []Scan{{Binding: tcpTry(port.Any, 1, 1).Binding, Ports: port.Set{{First: 8000, Last: 8099}}}}, Listeners: true,
		}
		facts, err := FromFiles(reader(files), Machine{Arch: arch, UID: -1}, "x").Probe(context.Background(), req)
		if err != nil {
			t.Fatal(err) // there are other files
		}
		for i, tried := range facts.Tried {
			if len(tried.Attempts) == 0 || slices.ContainsFunc(tried.Attempts, func(a Attempt) bool { return a.Outcome == OK || a.Outcome == InUse }) {
				t.Fatalf("try %d: %+v", i, tried)
			}
		}
		for _, g := range facts.Gaps {
			if len(g.What)+len(g.Op)+len(g.Errno) > 1000 {
				t.Fatalf("a gap of %d bytes", len(g.What)+len(g.Op)+len(g.Errno))
			}
		}
		if !facts.Tried[0].TableOK {
			if len(facts.Open[0]) > 0 || len(facts.Sockets) > 1 { // that of udp
				t.Fatalf("no table, but %s and %s", facts.Open[0], describe(facts.Sockets))
			}
			return
		}
		want := 0
		for _, text := range []string{tcp, tcp6} {
			_, rows, _ := strings.Cut(text, "\n")
			if !strings.HasSuffix(text, "\n") && text != "" {
				t.Fatalf("reported as whole, without an end: %q", text)
			}
			for line := range strings.Lines(rows) {
				s, err := parseProcNetLine(strings.TrimSuffix(line, "\n"), port.TCP, binary.LittleEndian)
				if err != nil {
					t.Fatalf("reported as whole, with a line that does not parse: %v", err)
				}
				if s.State == Listen && s.Port != 0 {
					want++
				}
			}
		}
		got := 0
		for _, s := range facts.Sockets {
			if s.State == Listen && s.Protocol == port.TCP {
				got++
			}
		}
		if got > want || want > 0 && got == 0 {
			t.Fatalf("%d listeners of %d: %s", got, want, describe(facts.Sockets))
		}
	})
}
