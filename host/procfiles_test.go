package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

const tableHeader = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"

func row(local, state string, uid, inode int) string {
	return fmt.Sprintf("   0: %s 00000000:0000 %s 00000000:00000000 00:00000000 00000000 %5d        0 %d 1 0000000000000000 100 0 0 10 0\n", local, state, uid, inode)
}

// machineFiles returns the files of a little-endian machine: a web server, a
// connection to it, another from port 50000, and a name server.
func machineFiles() map[string]string {
	return map[string]string{
		"/proc/net/tcp": tableHeader + row("0100007F:1F90", "0A", 33, 70213) + row("0100007F:1F90", "01", 33, 70215) +
			row("050200C0:C350", "01", 1000, 70216) + row("050200C0:C351", "06", 0, 0),
		"/proc/net/tcp6": tableHeader + row("00000000000000000000000000000000:01BB", "0A", 0, 70300) + row("B80D0120000000000000000001000000:2328", "0A", 0, 70301),
		"/proc/net/udp":  tableHeader + row("3500007F:0035", "07", 101, 15002),
		"/proc/net/udp6": tableHeader,
		"/proc/net/if_inet6": "00000000000000000000000000000001 01 80 10 80       lo\n" +
			"20010db8000000000000000000000001 02 40 00 80     eth0\n" +
			"20010db8000000000000000000000002 02 40 00 c0     eth0\n" + // tentative
			"fe800000000000000000000000000001 02 40 20 80     eth0\n",
		"/proc/net/fib_trie": "Main:\n  +-- 0.0.0.0/0 3 0 4\n     |-- 198.51.100.7\n        /32 host LOCAL\n" +
			"Local:\n  +-- 0.0.0.0/0 3 0 4\n     +-- 192.0.2.0/24 2 0 2\n        |-- 192.0.2.0\n           /24 link UNICAST\n        |-- 192.0.2.5\n           /32 host LOCAL\n" +
			"        |-- 203.0.113.0\n           /24 host LOCAL\nId 100:\n  |-- 198.51.100.8\n     /32 host LOCAL\n",
		"/proc/sys/kernel/random/boot_id":               "5f0e6a6e-1111-2222-3333-444455556666\n",
		"/proc/self/status":                             "Name:\tcat\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n",
		"/proc/sys/net/ipv4/ip_local_port_range":        "40000\t50001\n",
		"/proc/sys/net/ipv4/ip_local_reserved_ports":    "8082\n",
		"/proc/sys/net/ipv4/ip_unprivileged_port_start": "81\n",
	}
}

// changed returns machineFiles with changes; an empty text removes the file.
func changed(with map[string]string) map[string]string {
	all := machineFiles()
	maps.Copy(all, with)
	maps.DeleteFunc(all, func(_, text string) bool { return text == "" })
	return all
}

func withoutIPv6(with map[string]string) map[string]string {
	gone := map[string]string{"/proc/net/tcp6": "", "/proc/net/udp6": "", ifInet6Path: ""}
	maps.Copy(gone, with)
	return changed(gone)
}

func reader(all map[string]string) ReadFile {
	return func(_ context.Context, path string) ([]byte, error) {
		text, there := all[path]
		if !there {
			return nil, fmt.Errorf("cat: %s: %w", path, fs.ErrNotExist)
		}
		if reason, fails := strings.CutPrefix(text, "error: "); fails {
			return nil, errors.New(reason)
		}
		return []byte(text), nil
	}
}

func probeFiles(t *testing.T, all map[string]string, req Request) Facts {
	t.Helper()
	facts, err := FromFiles(reader(all), Machine{Arch: "amd64", UID: -1}, "/tmp is full").Probe(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

func tcpTry(address port.Address, first, last uint16) Try {
	return Try{Binding: port.Binding{Protocol: port.TCP, Addresses: []port.Address{address}, ReuseAddress: true}, Ports: port.Range{First: first, Last: last}}
}

// describeAttempts returns "[::]:8080 not-tried".
func describeAttempts(attempts []Attempt) string {
	var all []string
	for _, a := range attempts {
		all = append(all, strings.TrimPrefix(a.Endpoint.String(), "tcp ")+" "+string(a.Outcome))
	}
	return strings.Join(all, ", ")
}

func describeSockets(sockets []Socket) string {
	var all []string
	for _, s := range sockets {
		all = append(all, s.Endpoint.String()+" "+string(s.State))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func TestFilesMachine(t *testing.T) {
	facts := probeFiles(t, machineFiles(), Request{})
	m := facts.Machine
	if m.OS != "linux" || m.Arch != "amd64" || m.UID != 1000 || m.Elevated || !m.IPv6 || m.BootID != "5f0e6a6e-1111-2222-3333-444455556666" {
		t.Errorf("%+v", m)
	}
	if m.Namespace.Kind != NamespaceUnknown || m.Namespace.Reason == "" {
		t.Errorf("%+v", m.Namespace)
	}
	if l := facts.Limits; l.Ephemeral.String() != "40000-50001" || l.Reserved.String() != "8082" || l.UnprivilegedFrom != 81 {
		t.Errorf("%+v", l)
	}
	if len(facts.Gaps) != 2 || !strings.Contains(facts.Gaps[0].What, "/tmp is full") || facts.Gaps[0].Kind != "" || facts.Gaps[1].Kind != GapHolders {
		t.Errorf("gaps %+v", facts.Gaps)
	}
}

// The uid is that of the caller, if it is known, and the rights are those in
// /proc.
func TestFilesRights(t *testing.T) {
	const capable = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000400\n"
	for name, c := range map[string]struct {
		uid      int
		status   string
		wantUID  int
		elevated bool
	}{
		"root, not readable":         {0, "", 0, true},
		"a user, not readable":       {1000, "", 1000, false},
		"unknown":                    {-1, "", -1, false},
		"nonsense":                   {-1, "CapEff:\tx\nUid:\t-1\t-1\t-1\t-1\n", -1, false},
		"root without capabilities":  {0, "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000000000\n", 0, false},
		"a user with the capability": {-1, capable, 1000, true},
		"root by the caller alone":   {0, capable, 0, true},
		"another uid":                {33, capable, 33, true},
	} {
		files := changed(map[string]string{statusPath: c.status})
		facts, err := FromFiles(reader(files), Machine{Arch: "amd64", UID: c.uid}, "x").Probe(t.Context(), Request{})
		if m := facts.Machine; err != nil || m.UID != c.wantUID || m.Elevated != c.elevated {
			t.Errorf("%s: uid %d, elevated %t (%v)", name, m.UID, m.Elevated, err)
		}
	}
}

func TestFilesAnswerTries(t *testing.T) {
	for name, c := range map[string]struct {
		files    map[string]string
		try      Try
		attempts string
		sockets  string
	}{
		"a listener hides its connections": {nil, tcpTry(port.Any, 8080, 8080), "[::]:8080 not-tried", "tcp 127.0.0.1:8080 listen"},
		"connections alone":                {nil, tcpTry(port.Any, 50000, 50001), "[::]:50000 not-tried, [::]:50001 not-tried", "tcp 192.0.2.5:50000 connected, tcp 192.0.2.5:50001 time-wait"},
		"not held":                         {nil, tcpTry(port.Loopback, 9, 9), "127.0.0.1:9 not-tried, [::1]:9 not-tried", ""},
		"[::] serves IPv4 too":             {nil, tcpTry(port.Any4, 443, 443), "0.0.0.0:443 not-tried", "tcp [::]:443 listen"},
		"an address of the machine":        {nil, tcpTry("192.0.2.5", 9, 9), "192.0.2.5:9 not-tried", ""},
		"a whole prefix":                   {nil, tcpTry("203.0.113.9", 9, 9), "203.0.113.9:9 not-tried", ""},
		"all of 127":                       {nil, tcpTry("127.9.9.9", 9, 9), "127.9.9.9:9 not-tried", ""},
		"a neighbour's address":            {nil, tcpTry("192.0.2.6", 9, 9), "192.0.2.6:9 no-address", ""},
		"an address of another table":      {nil, tcpTry("198.51.100.8", 9, 9), "198.51.100.8:9 no-address", ""},
		"an IPv6 address":                  {nil, tcpTry("2001:db8::1", 9000, 9000), "[2001:db8::1]:9000 not-tried", "tcp [2001:db8::1]:9000 listen"},
		"another's IPv6 address":           {nil, tcpTry("2001:db8::9", 9, 9), "[2001:db8::9]:9 no-address", ""},
		"an address that is being checked": {nil, tcpTry("2001:db8::2", 9, 9), "[2001:db8::2]:9 no-address", ""},
		"link-local":                       {nil, tcpTry("fe80::1%eth0", 9, 9), "[fe80::1%eth0]:9 not-tried", ""},
		"link-local by number":             {nil, tcpTry("fe80::1%2", 9, 9), "[fe80::1%eth0]:9 not-tried", ""},
		"link-local of another device":     {nil, tcpTry("fe80::1%eth1", 9, 9), "[fe80::1%eth1]:9 no-address", ""},
		"any address may be bound":         {changed(map[string]string{"/proc/sys/net/ipv4/ip_nonlocal_bind": "1\n"}), tcpTry("192.0.2.6", 9, 9), "192.0.2.6:9 not-tried", ""},
		"addresses can't be read":          {changed(map[string]string{fibTriePath: "error: Permission denied"}), tcpTry("192.0.2.5", 9, 9), "192.0.2.5:9 failed", ""},
		"addresses are cut short":          {changed(map[string]string{fibTriePath: "Local:\n  |-- 192.0.2.6\n     /32 host LO"}), tcpTry("192.0.2.6", 9, 9), "192.0.2.6:9 failed", ""},
		"no table of addresses":            {changed(map[string]string{fibTriePath: "Main:\n"}), tcpTry("192.0.2.6", 9, 9), "192.0.2.6:9 failed", ""},
		"IPv6 addresses can't be read":     {changed(map[string]string{ifInet6Path: "error: Permission denied"}), tcpTry("::1", 9, 9), "[::1]:9 failed", ""},
		"no IPv6, any":                     {withoutIPv6(nil), tcpTry(port.Any, 8080, 8081), "[::]:8080 no-family, 0.0.0.0:8080 not-tried, [::]:8081 no-family, 0.0.0.0:8081 not-tried", "tcp 127.0.0.1:8080 listen"},
		"no IPv6, any6":                    {withoutIPv6(nil), tcpTry(port.Any6, 9, 9), "[::]:9 no-family", ""},
		"no IPv6, loopback":                {withoutIPv6(nil), tcpTry(port.Loopback, 9, 9), "127.0.0.1:9 not-tried, [::1]:9 no-family", ""},
		"a table of IPv6 alone":            {withoutIPv6(map[string]string{"/proc/net/tcp6": tableHeader}), tcpTry(port.Any, 9, 9), "[::]:9 not-tried", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if c.files == nil {
				c.files = machineFiles()
			}
			facts := probeFiles(t, c.files, Request{Tries: []Try{c.try}})
			tried := facts.Tried[0]
			if got := describeAttempts(tried.Attempts); got != c.attempts {
				t.Errorf("attempts %s, want %s", got, c.attempts)
			}
			if got := describeSockets(facts.Sockets); got != c.sockets {
				t.Errorf("sockets %s, want %s", got, c.sockets)
			}
			if !tried.TableOK || tried.NoBindReason != "/tmp is full" || tried.UID != 1000 {
				t.Errorf("%+v", tried)
			}
			for _, a := range tried.Attempts {
				if (a.Outcome == NotTried) != (a.Op == "") || a.Op == "bind" {
					t.Errorf("%+v", a)
				}
			}
		})
	}
}

// The attempt has the file that shows why a bind can't work, or that can't be
// read.
func TestFilesReasons(t *testing.T) {
	const nonlocal4, nonlocal6 = "/proc/sys/net/ipv4/ip_nonlocal_bind", "/proc/sys/net/ipv6/ip_nonlocal_bind"
	const denied = "error: Permission denied"
	for name, c := range map[string]struct {
		change  map[string]string
		address port.Address
		want    Attempt
	}{
		"no such address":                 {nil, "192.0.2.6", Attempt{Outcome: NoAddress, Op: "read " + fibTriePath}},
		"no such IPv6 address":            {nil, "2001:db8::9", Attempt{Outcome: NoAddress, Op: "read " + ifInet6Path}},
		"only local addresses":            {map[string]string{nonlocal4: "0\n"}, "192.0.2.6", Attempt{Outcome: NoAddress, Op: "read " + fibTriePath}},
		"only local IPv6 addresses":       {map[string]string{nonlocal6: "0\n"}, "2001:db8::9", Attempt{Outcome: NoAddress, Op: "read " + ifInet6Path}},
		"any IPv6 address may be bound":   {map[string]string{nonlocal6: "1\n"}, "2001:db8::9", Attempt{Outcome: NotTried}},
		"any IPv4 address may be bound":   {map[string]string{nonlocal4: "1\n"}, "2001:db8::9", Attempt{Outcome: NoAddress, Op: "read " + ifInet6Path}},
		"the sysctl can't be read":        {map[string]string{nonlocal4: denied}, "192.0.2.6", Attempt{Outcome: Failed, Op: "read " + nonlocal4, Errno: "Permission denied"}},
		"the IPv6 sysctl can't be read":   {map[string]string{nonlocal6: denied}, "2001:db8::9", Attempt{Outcome: Failed, Op: "read " + nonlocal6, Errno: "Permission denied"}},
		"the addresses can't be read":     {map[string]string{fibTriePath: denied}, "192.0.2.5", Attempt{Outcome: Failed, Op: "read " + fibTriePath, Errno: "Permission denied"}},
		"there is no file of addresses":   {map[string]string{fibTriePath: ""}, "192.0.2.5", Attempt{Outcome: Failed, Op: "read " + fibTriePath, Errno: "ENOENT"}},
		"IPv6 addresses can't be read":    {map[string]string{ifInet6Path: denied}, "2001:db8::1", Attempt{Outcome: Failed, Op: "read " + ifInet6Path, Errno: "Permission denied"}},
		"IPv6 addresses are cut off":      {map[string]string{ifInet6Path: "2001"}, "2001:db8::1", Attempt{Outcome: Failed, Op: "read " + ifInet6Path, Errno: errCutShort.Error()}},
		"loopback needs no file":          {map[string]string{fibTriePath: denied}, "127.0.0.1", Attempt{Outcome: NotTried}},
		"the wildcard needs no file":      {map[string]string{fibTriePath: denied}, port.Any4, Attempt{Outcome: NotTried}},
		"the IPv6 wildcard needs no file": {map[string]string{ifInet6Path: denied}, port.Any6, Attempt{Outcome: NotTried}},
	} {
		got := probeFiles(t, changed(c.change), Request{Tries: []Try{tcpTry(c.address, 9, 9)}}).Tried[0].Attempts
		if len(got) != 1 || got[0].Outcome != c.want.Outcome || got[0].Op != c.want.Op || got[0].Errno != c.want.Errno {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	got := probeFiles(t, withoutIPv6(nil), Request{Tries: []Try{tcpTry("::1", 9, 9)}}).Tried[0].Attempts
	if len(got) != 1 || got[0].Outcome != NoFamily || got[0].Op != "read "+ifInet6Path || got[0].Errno != "ENOENT" {
		t.Errorf("no IPv6: %+v", got)
	}
}

func TestFilesKeepTheSocketsUser(t *testing.T) {
	facts := probeFiles(t, machineFiles(), Request{Tries: []Try{tcpTry(port.Any, 8080, 8080)}})
	if len(facts.Sockets) != 1 {
		t.Fatalf("%+v", facts.Sockets)
	}
	if s := facts.Sockets[0]; s.UID == nil || *s.UID != 33 || s.Inode != 70213 || len(s.Holders) > 0 || s.Complete {
		t.Errorf("%+v", s)
	}
}

func TestFilesRunAs(t *testing.T) {
	for user, want := range map[string]int{"": 1000, "root": 0, "33": 33, "www-data": -1, "-1": -1, "2147483647": 2147483647, "2147483648": -1, "1a": -1} {
		try := tcpTry(port.Any, 9, 9)
		try.RunAs = user
		if got := probeFiles(t, machineFiles(), Request{Tries: []Try{try}}).Tried[0].UID; got != want {
			t.Errorf("%q: uid %d, want %d", user, got, want)
		}
	}
}

func TestFilesAnswerScansAndListeners(t *testing.T) {
	scan := Scan{Binding: tcpTry(port.Any, 1, 1).Binding, Ports: port.Set{{First: 50000, Last: 50002}, {First: 8079, Last: 8083}}}
	if got := probeFiles(t, machineFiles(), Request{Scans: []Scan{scan}}).Open[0].String(); got != "50002,8079,8081,8083" {
		t.Errorf("open: %s", got)
	}
	facts := probeFiles(t, machineFiles(), Request{Listeners: true})
	if got, want := describeSockets(facts.Sockets), "tcp 127.0.0.1:8080 listen, tcp [2001:db8::1]:9000 listen, tcp [::]:443 listen, udp 127.0.0.53:53 listen"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestFilesCannotDial(t *testing.T) {
	a := probeFiles(t, machineFiles(), Request{Dials: []Dial{{Host: "192.0.2.9", Port: 5432}}}).Dialed[0]
	if a.Outcome != NotTried || a.Op != "connect" || a.Errno != "/tmp is full" || a.Addr != netip.MustParseAddr("192.0.2.9") || a.Port != 5432 {
		t.Errorf("%+v", a)
	}
}

// The same listener, as machines of both byte orders print it.
func TestFilesOfBothByteOrders(t *testing.T) {
	for arch, local := range map[string]string{"arm64": "0100007F", "mips64le": "0100007F", "s390x": "7F000001", "mips": "7F000001"} {
		files := changed(map[string]string{"/proc/net/tcp": tableHeader + row(local+":1F90", "0A", 33, 70213), "/proc/net/tcp6": tableHeader})
		facts, err := FromFiles(reader(files), Machine{Arch: arch}, "x").Probe(t.Context(), Request{Tries: []Try{tcpTry("127.0.0.1", 8080, 8080)}})
		if got := describeSockets(facts.Sockets); err != nil || got != "tcp 127.0.0.1:8080 listen" {
			t.Errorf("%s: %s (%v)", arch, got, err)
		}
	}
	facts, err := FromFiles(reader(machineFiles()), Machine{Arch: "vax"}, "x").Probe(t.Context(), Request{Tries: []Try{tcpTry(port.Any, 1, 1)}})
	if err != nil || facts.Tried[0].TableOK {
		t.Errorf("a machine of unknown byte order: %+v (%v)", facts.Tried, err)
	}
}

// A table that can't be read whole is not used, and there is a gap with the reason.
func TestFilesBrokenTable(t *testing.T) {
	whole := machineFiles()["/proc/net/tcp"]
	for name, c := range map[string]struct {
		files map[string]string
		errno string // contained in that of the gap
	}{
		"gone":                         {changed(map[string]string{"/proc/net/tcp": ""}), "ENOENT"},
		"refused":                      {changed(map[string]string{"/proc/net/tcp": "error: Permission denied"}), "Permission denied"},
		"refused at length":            {changed(map[string]string{"/proc/net/tcp": "error: " + strings.Repeat("é", 1<<20)}), "é…"},
		"IPv6 gone":                    {changed(map[string]string{"/proc/net/tcp6": ""}), "ENOENT"},
		"IPv6 gone, and not known":     {changed(map[string]string{"/proc/net/tcp6": "", ifInet6Path: "error: Permission denied"}), "ENOENT"},
		"IPv6 refused":                 {changed(map[string]string{"/proc/net/tcp6": "error: Permission denied"}), "Permission denied"},
		"without a header":             {changed(map[string]string{"/proc/net/tcp": strings.TrimPrefix(whole, tableHeader)}), "header"},
		"in the middle of a line":      {changed(map[string]string{"/proc/net/tcp": whole[:len(whole)-40]}), "in the middle of a line"},
		"one byte short":               {changed(map[string]string{"/proc/net/tcp": whole[:len(whole)-1]}), "in the middle of a line"},
		"a broken line":                {changed(map[string]string{"/proc/net/tcp": whole + "\x1b[2J::error::x\n"}), "number of fields"},
		"a message instead of a table": {changed(map[string]string{"/proc/net/tcp": "This account is not available.\n"}), "header"},
	} {
		t.Run(name, func(t *testing.T) {
			req := Request{Tries: []Try{tcpTry(port.Any, 8080, 8081)}, Scans: []Scan{{Binding: tcpTry(port.Any, 1, 1).Binding, Ports: port.Set{port.One(9)}}}}
			facts := probeFiles(t, c.files, req)
			if facts.Tried[0].TableOK || len(facts.Tried[0].Attempts) != 2 || len(facts.Sockets) > 0 || len(facts.Open[0]) > 0 {
				t.Errorf("%+v, sockets %s, open %s", facts.Tried[0], describeSockets(facts.Sockets), facts.Open[0])
			}
			i := slices.IndexFunc(facts.Gaps, func(g Gap) bool { return g.Kind == GapSockets })
			if i < 0 || !strings.Contains(facts.Gaps[i].Errno, c.errno) || !strings.HasPrefix(facts.Gaps[i].Op, "read /proc/net/tcp") {
				t.Fatalf("gaps %+v", facts.Gaps)
			}
			if len(facts.Gaps[i].Errno) > 300 {
				t.Errorf("%d bytes of reason", len(facts.Gaps[i].Errno))
			}
		})
	}
}

// A list of ports that is cut off is not taken for the whole list.
func TestFilesBrokenSysctls(t *testing.T) {
	for name, text := range map[string]string{
		"gone": "", "refused": "error: Permission denied", "cut short": "8080,90", "nonsense": strings.Repeat("x", 1<<20) + "\n",
	} {
		facts := probeFiles(t, changed(map[string]string{"/proc/sys/net/ipv4/ip_local_reserved_ports": text}), Request{})
		i := slices.IndexFunc(facts.Gaps, func(g Gap) bool { return strings.Contains(g.What, "ip_local_reserved_ports") })
		if i < 0 || len(facts.Limits.Reserved) > 0 || len(facts.Gaps[i].Errno) > 300 {
			t.Errorf("%s: %+v, gaps %.500v", name, facts.Limits, facts.Gaps)
		}
	}
}

func TestFilesNothingToRead(t *testing.T) {
	req := Request{Tries: []Try{tcpTry(port.Any, 8080, 8080)}}
	for name, read := range map[string]ReadFile{
		"not Linux": reader(nil),
		"refused":   func(context.Context, string) ([]byte, error) { return nil, errors.New("channel refused") },
	} {
		_, err := FromFiles(read, Machine{Arch: "amd64"}, "x").Probe(t.Context(), req)
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The error has the reason of the first file.
	different := func(_ context.Context, path string) ([]byte, error) { return nil, errors.New("no " + path) }
	if _, err := FromFiles(different, Machine{Arch: "amd64"}, "x").Probe(t.Context(), req); err == nil || err.Error() != "no file of /proc can be read: no "+bootIDPath {
		t.Errorf("different reasons: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone := func(ctx context.Context, _ string) ([]byte, error) { return nil, ctx.Err() }
	if _, err := FromFiles(gone, Machine{}, "x").Probe(ctx, req); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A hostile machine can list as many sockets as fit into a file. The work on them
// grows with their number.
func TestFilesFullOfConnections(t *testing.T) {
	testbed.Linear(t, 30_000, func(connections int) func() {
		var text strings.Builder
		text.WriteString(tableHeader)
		for i := range connections {
			text.WriteString(row(fmt.Sprintf("%08X:1F90", i+1), "01", 0, i+1))
		}
		files := changed(map[string]string{"/proc/net/tcp": text.String()})
		return func() {
			facts := probeFiles(t, files, Request{Tries: []Try{tcpTry(port.Any, 8080, 8080)}})
			if len(facts.Sockets) != connections {
				t.Errorf("%d sockets", len(facts.Sockets))
			}
		}
	})
}

// A text that is too long, or cut off, is not taken for a boot ID.
func TestFilesBootID(t *testing.T) {
	for text, want := range map[string]string{
		"5f0e6a6e\n": "5f0e6a6e", strings.Repeat("x", 62) + "\n": strings.Repeat("x", 62), strings.Repeat("x", 63) + "\n": "", "": "", "5f0e": "", "error: EIO": "",
	} {
		facts := probeFiles(t, changed(map[string]string{bootIDPath: text}), Request{})
		if got := facts.Machine.BootID; got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestShorten(t *testing.T) {
	x := strings.Repeat("x", 198)
	for text, want := range map[string]string{
		"": "", "short": "short", x + "xx": x + "xx", x + "xxx": x + "xx…", x + "xé": x + "x…", x + "é": x + "é", x + "éx": x + "é…",
	} {
		if got := shorten(text); got != want {
			t.Errorf("%d bytes: %q, want %q", len(text), got, want)
		}
	}
}
