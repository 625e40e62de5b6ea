package check

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// listens returns a socket of a listing: "ADDRESS:PORT/PROTOCOL", tcp if there is none,
// and what is known of its holder.
func listens(t *testing.T, endpoint string, facts ...func(*Holder)) Holder {
	t.Helper()
	endpoint, proto, _ := strings.Cut(endpoint, "/")
	i := strings.LastIndexByte(endpoint, ':')
	n, err := port.ParseRange(endpoint[i+1:])
	if err != nil {
		t.Fatal(err)
	}
	h := Holder{Protocol: port.TCP, Address: endpoint[:i], Port: n.First, State: "listen"}
	if proto != "" {
		h.Protocol = port.Protocol(proto)
	}
	for _, fact := range facts {
		fact(&h)
	}
	return h
}

// The facts of holders.
func by(executable string, pid int) func(*Holder) {
	return func(h *Holder) {
		uid := 0
		h.Executable, h.Process, h.PID, h.User, h.UID = "/usr/sbin/"+executable, executable, pid, "root", &uid
	}
}

func as(user string, uid int) func(*Holder) {
	return func(h *Holder) { h.User, h.UID = user, &uid }
}

func in(unit string) func(*Holder) { return func(h *Holder) { h.Unit = unit } }

func inside(c Container) func(*Holder) { return func(h *Holder) { h.Container = &c } }

func without(facts ...string) func(*Holder) {
	return func(h *Holder) {
		h.Listed = &Listed{Unseen: facts}
		for _, f := range facts {
			switch f {
			case "executable":
				h.Executable = ""
			case "user":
				h.User, h.UID = "", nil
			case "unit":
				h.Unit = ""
			case "container":
				h.Container = nil
			}
		}
	}
}

func serves6Only(v6only bool) func(*Holder) {
	return func(h *Holder) { h.Listed = &Listed{V6Only: &v6only} }
}

func onDevice(name string) func(*Holder) { return func(h *Holder) { h.Listed = &Listed{Device: name} } }

func ofKernel(h *Holder) { h.Kernel = true }

func forSocketUnit(unit string) func(*Holder) {
	return func(h *Holder) { h.Origin = &Origin{SocketUnit: unit} }
}

func TestCompare(t *testing.T) {
	l := func(endpoint string, facts ...func(*Holder)) Holder { return listens(t, endpoint, facts...) }
	nginx, evil := by("nginx", 10), by("evil", 66)
	type sockets = []Holder
	for _, c := range []struct {
		name        string
		before, now sockets
		want        string // the changes, "?" before those that are not known
	}{
		{"nothing", nil, nil, ""},
		{"appeared", nil, sockets{l("0.0.0.0:80", nginx)}, "appeared tcp 0.0.0.0:80"},
		{"gone", sockets{l("0.0.0.0:80", nginx)}, nil, "gone tcp 0.0.0.0:80"},
		{"the same port of another protocol", sockets{l("0.0.0.0:53", nginx)}, sockets{l("0.0.0.0:53/udp", nginx)}, "gone tcp 0.0.0.0:53, appeared udp 0.0.0.0:53"},
		{"a restart", sockets{l("0.0.0.0:80", nginx)}, sockets{l("0.0.0.0:80", by("nginx", 4711))}, ""},

		{"another executable", sockets{l("0.0.0.0:80", nginx)}, sockets{l("0.0.0.0:80", evil)}, "changed-hands tcp 0.0.0.0:80"},
		{"another user", sockets{l("0.0.0.0:80", nginx)}, sockets{l("0.0.0.0:80", nginx, as("alice", 1000))}, "changed-hands tcp 0.0.0.0:80"},
		{"a uid without a name", sockets{l("0.0.0.0:80", nginx, as("alice", 1000))}, sockets{l("0.0.0.0:80", nginx, as("", 1000))}, ""},
		{"another unit", sockets{l("0.0.0.0:80", nginx, in("nginx.service"))}, sockets{l("0.0.0.0:80", nginx, in("other.service"))}, "changed-hands tcp 0.0.0.0:80"},
		{"no unit", sockets{l("0.0.0.0:80", nginx, in("nginx.service"))}, sockets{l("0.0.0.0:80", nginx)}, "changed-hands tcp 0.0.0.0:80"},
		{"by hand instead of as a service", sockets{l("0.0.0.0:80", nginx, in("nginx.service"))}, sockets{l("0.0.0.0:80", nginx, in("session-3.scope"))}, "changed-hands tcp 0.0.0.0:80"},
		{"another session", sockets{l("0.0.0.0:80", nginx, in("session-3.scope"))}, sockets{l("0.0.0.0:80", nginx, in("session-4.scope"))}, ""},
		{"another session of another user's manager", sockets{l("0.0.0.0:80", nginx, in("user@1.service/app-1.scope"))}, sockets{l("0.0.0.0:80", nginx, in("user@2.service/app-1.scope"))}, "changed-hands tcp 0.0.0.0:80"},
		{"systemd-run", sockets{l("0.0.0.0:80", nginx, in("run-u21.service"))}, sockets{l("0.0.0.0:80", nginx, in("run-u22.service"))}, ""},

		{"another container", sockets{l("0.0.0.0:80", nginx, inside(Container{ID: "1", Name: "web"}))}, sockets{l("0.0.0.0:80", nginx, inside(Container{ID: "2", Name: "api"}))}, "changed-hands tcp 0.0.0.0:80"},
		{"a container instead of a service", sockets{l("0.0.0.0:80", nginx, in("nginx.service"))}, sockets{l("0.0.0.0:80", nginx, inside(Container{ID: "2", Name: "api"}))}, "changed-hands tcp 0.0.0.0:80"},
		{"a container that was made again", sockets{l("0.0.0.0:80", nginx, inside(Container{ID: "1", Name: "web"}))}, sockets{l("0.0.0.0:80", nginx, inside(Container{ID: "2", Name: "web"}))}, ""},
		{"another replica of a Compose service", sockets{l("0.0.0.0:80", nginx, inside(Container{ID: "1", Name: "web-1", Compose: "shop/web"}))}, sockets{l("0.0.0.0:80", nginx, inside(Container{ID: "2", Name: "web-2", Compose: "shop/web"}))}, ""},
		{"containers of which the engine says nothing", sockets{l("0.0.0.0:80", nginx, inside(Container{ID: "1"}))}, sockets{l("0.0.0.0:80", nginx, inside(Container{ID: "2"}))}, "?unknown tcp 0.0.0.0:80"},
		{"the same one", sockets{l("0.0.0.0:80", nginx, inside(Container{ID: "1"}))}, sockets{l("0.0.0.0:80", nginx, inside(Container{ID: "1"}))}, ""},
		{"another executable in it", sockets{l("0.0.0.0:80", nginx, inside(Container{ID: "1"}))}, sockets{l("0.0.0.0:80", evil, inside(Container{ID: "2"}))}, "changed-hands tcp 0.0.0.0:80"},

		{"a holder that can't be seen any more", sockets{l("0.0.0.0:80", nginx)}, sockets{l("0.0.0.0:80", as("alice", 1000))}, "?unknown tcp 0.0.0.0:80"},
		{"a holder that could not be seen", sockets{l("0.0.0.0:80", as("", 0))}, sockets{l("0.0.0.0:80", evil)}, "?unknown tcp 0.0.0.0:80"},
		{"holders that can't be seen", sockets{l("0.0.0.0:80", as("", 0))}, sockets{l("0.0.0.0:80", as("", 0))}, "?unknown tcp 0.0.0.0:80"},
		{"holders that can't be seen, and another user's socket", sockets{l("0.0.0.0:80", as("", 0))}, sockets{l("0.0.0.0:80", as("", 1000))}, "changed-hands tcp 0.0.0.0:80"},
		{"an executable that can't be read", sockets{l("0.0.0.0:80", nginx)}, sockets{l("0.0.0.0:80", nginx, without("executable"))}, "?unknown tcp 0.0.0.0:80"},
		{"a unit that can't be read", sockets{l("0.0.0.0:80", nginx, in("nginx.service"))}, sockets{l("0.0.0.0:80", nginx, without("unit", "container"))}, ""},
		{"another executable, and a unit that can't be read", sockets{l("0.0.0.0:80", nginx, in("nginx.service"))}, sockets{l("0.0.0.0:80", evil, without("unit", "container"))}, "changed-hands tcp 0.0.0.0:80"},
		{"a user that can't be read", sockets{l("0.0.0.0:80", nginx)}, sockets{l("0.0.0.0:80", nginx, without("user"))}, ""},
		{"the kernel", sockets{l("0.0.0.0:2049", ofKernel)}, sockets{l("0.0.0.0:2049", ofKernel)}, ""},
		{"a process in place of the kernel", sockets{l("0.0.0.0:2049", ofKernel)}, sockets{l("0.0.0.0:2049", evil)}, "changed-hands tcp 0.0.0.0:2049"},

		{"workers that join", sockets{l("0.0.0.0:80", nginx)}, sockets{l("0.0.0.0:80", nginx), l("0.0.0.0:80", by("nginx", 11), as("www-data", 33))}, ""},
		{"a master that leaves", sockets{l("0.0.0.0:80", nginx), l("0.0.0.0:80", by("nginx", 11), as("www-data", 33))}, sockets{l("0.0.0.0:80", by("nginx", 11), as("www-data", 33))}, ""},
		{"a stranger who shares the port", sockets{l("0.0.0.0:80", nginx)}, sockets{l("0.0.0.0:80", nginx), l("0.0.0.0:80", evil)}, "changed-hands tcp 0.0.0.0:80"},
		{"a stranger who does not share it any more", sockets{l("0.0.0.0:80", nginx), l("0.0.0.0:80", evil)}, sockets{l("0.0.0.0:80", nginx)}, ""},
		{"a member of the group that can't be seen", sockets{l("0.0.0.0:80", nginx)}, sockets{l("0.0.0.0:80", nginx), l("0.0.0.0:80")}, "?unknown tcp 0.0.0.0:80"},
		{"a service that a socket unit has started", sockets{l("0.0.0.0:22", by("systemd", 1), in("init.scope"), forSocketUnit("ssh.socket"))}, sockets{l("0.0.0.0:22", by("systemd", 1), in("init.scope"), forSocketUnit("ssh.socket")), l("0.0.0.0:22", by("sshd", 99), in("ssh.service"), forSocketUnit("ssh.socket"))}, ""},

		{"every address instead of loopback", sockets{l("127.0.0.1:80", nginx)}, sockets{l("0.0.0.0:80", by("nginx", 77))}, "exposed tcp 0.0.0.0:80 was 127.0.0.1, not 127.0.0.1"},
		{"every address beside loopback", sockets{l("127.0.0.1:80", nginx)}, sockets{l("127.0.0.1:80", nginx), l("0.0.0.0:80", nginx)}, "exposed tcp 0.0.0.0:80 was 127.0.0.1"},
		{"another address", sockets{l("10.0.0.1:80", nginx)}, sockets{l("10.0.0.2:80", nginx)}, "exposed tcp 10.0.0.2:80 was 10.0.0.1, not 10.0.0.1"},
		{"every address by a stranger", sockets{l("127.0.0.1:80", nginx)}, sockets{l("0.0.0.0:80", evil)}, "appeared tcp 0.0.0.0:80, gone tcp 127.0.0.1:80"},
		{"a stranger before a server", sockets{l("0.0.0.0:80", nginx)}, sockets{l("0.0.0.0:80", nginx), l("10.0.0.1:80", evil)}, "appeared tcp 10.0.0.1:80"},
		{"every address by nobody knows whom", sockets{l("127.0.0.1:80", nginx)}, sockets{l("0.0.0.0:80")}, "exposed tcp 0.0.0.0:80 was 127.0.0.1, not 127.0.0.1"},
		{"loopback by nobody knows whom", sockets{l("0.0.0.0:80", nginx)}, sockets{l("127.0.0.1:80")}, "gone tcp 0.0.0.0:80, appeared tcp 127.0.0.1:80"},
		{"loopback instead of every address", sockets{l("0.0.0.0:80", nginx)}, sockets{l("127.0.0.1:80", nginx)}, "moved tcp 127.0.0.1:80 was 0.0.0.0, not 0.0.0.0"},
		{"one address instead of every one", sockets{l("0.0.0.0:80", nginx)}, sockets{l("10.0.0.1:80", nginx)}, "moved tcp 10.0.0.1:80 was 0.0.0.0, not 0.0.0.0"},
		{"the other loopback address", sockets{l("127.0.0.1:80", nginx)}, sockets{l("[::1]:80", nginx)}, "moved tcp ::1:80 was 127.0.0.1, not 127.0.0.1"},
		{"two addresses instead of one", sockets{l("127.0.0.1:80", nginx)}, sockets{l("10.0.0.2:80", nginx), l("10.0.0.1:80", nginx)}, "exposed tcp 10.0.0.1:80 was 127.0.0.1, exposed tcp 10.0.0.2:80 was 127.0.0.1, not 127.0.0.1"},

		{"IPv4 as well", sockets{l("[::]:80", nginx, serves6Only(true))}, sockets{l("[::]:80", nginx, serves6Only(false))}, "exposed tcp :::80 was ::, not ::"},
		{"IPv6 alone", sockets{l("[::]:80", nginx, serves6Only(false))}, sockets{l("[::]:80", nginx, serves6Only(true))}, ""},
		{"IPv4 of a socket that served both", sockets{l("[::]:80", nginx, serves6Only(false))}, sockets{l("0.0.0.0:80", nginx)}, "moved tcp 0.0.0.0:80 was ::, not ::"},
		{"IPv4 beside IPv6", sockets{l("[::]:80", nginx, serves6Only(true))}, sockets{l("[::]:80", nginx, serves6Only(true)), l("0.0.0.0:80", nginx)}, "exposed tcp 0.0.0.0:80 was ::"},
		{"both families in place of IPv4", sockets{l("0.0.0.0:80", nginx)}, sockets{l("[::]:80", nginx, serves6Only(false))}, "exposed tcp :::80 was 0.0.0.0, not 0.0.0.0"},
		{"a socket of which the families are not known", sockets{l("[::]:80", nginx)}, sockets{l("0.0.0.0:80", nginx)}, "moved tcp 0.0.0.0:80 was ::, not ::"},
		{"a mapped address", sockets{l("[::ffff:10.0.0.1]:80", nginx)}, sockets{l("10.0.0.1:80", nginx)}, "moved tcp 10.0.0.1:80 was ::ffff:10.0.0.1, not ::ffff:10.0.0.1"},
		{"every device", sockets{l("0.0.0.0:80", nginx, onDevice("eth1"))}, sockets{l("0.0.0.0:80", nginx)}, "exposed tcp 0.0.0.0:80 was 0.0.0.0%eth1, not 0.0.0.0%eth1"},
		{"one device", sockets{l("0.0.0.0:80", nginx)}, sockets{l("0.0.0.0:80", nginx, onDevice("eth1"))}, "moved tcp 0.0.0.0%eth1:80 was 0.0.0.0, not 0.0.0.0"},
		{"a link-local address of another device", sockets{l("[fe80::1%eth0]:80", nginx)}, sockets{l("[fe80::1%eth1]:80", nginx)}, "exposed tcp fe80::1%eth1:80 was fe80::1%eth0, not fe80::1%eth0"},

		{"a client's UDP socket", nil, sockets{l("0.0.0.0:40000/udp", nginx)}, "(1 ignored)"},
		{"a server's UDP socket", nil, sockets{l("0.0.0.0:53/udp", nginx)}, "appeared udp 0.0.0.0:53"},
		{"the kernel's UDP socket", nil, sockets{l("0.0.0.0:51820/udp", ofKernel)}, "appeared udp 0.0.0.0:51820"},
		{"a client's port in the hands of another", sockets{l("0.0.0.0:40000/udp", nginx)}, sockets{l("0.0.0.0:40000/udp", evil)}, "(2 ignored)"},
		{"an ephemeral TCP port", nil, sockets{l("0.0.0.0:40000", nginx)}, "appeared tcp 0.0.0.0:40000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, sockets := range [][]Holder{c.before, c.now} {
				for i := range sockets {
					sockets[i].Address = strings.Trim(sockets[i].Address, "[]")
				}
			}
			if got := changesText(Compare(listingOf(c.before), listingOf(c.now), CompareOptions{})); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// A list of a portcheck that did not write reserved ports, and one of a machine with other
// ephemeral ports, are compared as if those of both were ephemeral.
func TestCompareWithOtherEphemeralPorts(t *testing.T) {
	server := []Holder{{Listed: &Listed{}, Protocol: port.UDP, Address: "0.0.0.0", Port: 40000, State: "listen", PID: 7, Process: "dns", Executable: "/usr/sbin/dns"}}
	for _, c := range []struct {
		before, now TargetReport
		want        string
	}{
		{TargetReport{Ephemeral: "32768-60999"}, TargetReport{Ephemeral: "32768-60999", Reserved: "40000"}, "(1 ignored)"},
		{TargetReport{Ephemeral: "32768-60999"}, TargetReport{Ephemeral: "50000-60999"}, "(1 ignored)"},
		{TargetReport{Ephemeral: "50000-60999"}, TargetReport{Ephemeral: "32768-60999"}, "(1 ignored)"},
		{TargetReport{Ephemeral: "32768-60999", Reserved: "40000"}, TargetReport{Ephemeral: "32768-60999", Reserved: "39999-40001"}, "appeared udp 0.0.0.0:40000"},
	} {
		before, now := Listing{Targets: []TargetReport{c.before}}, Listing{Targets: []TargetReport{c.now}, Sockets: server}
		if got := changesText(Compare(before, now, CompareOptions{})); got != c.want {
			t.Errorf("%+v, %+v: got %s, want %s", c.before, c.now, got, c.want)
		}
	}
}

func listingOf(sockets []Holder) Listing {
	return Listing{Version: 1, Targets: []TargetReport{{Name: "local", Ephemeral: "32768-60999"}}, Sockets: sockets}
}

// changesText returns the changes as the wants of TestCompare have them.
func changesText(c Comparison) string {
	var all []string
	for _, x := range slices.Concat(c.Changes, c.Unknown) {
		s := fmt.Sprintf("%s %s %s:%d", x.Kind, x.Protocol, x.Address, x.Port)
		if x.Kind == HandsUnknown {
			s = "?" + s
		}
		if len(x.Was) > 0 {
			s += " was " + strings.Join(x.Was, " ")
			for _, h := range x.Before {
				s += ", not " + h.Place()
			}
		}
		all = append(all, s)
	}
	if c.Ignored > 0 {
		all = append(all, fmt.Sprintf("(%d ignored)", c.Ignored))
	}
	return strings.Join(all, ", ")
}

// Applying the changes to the earlier listing gives the later one. A listing has no
// difference to itself, and the order of sockets makes none.
func TestCompareRandomListings(t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 4))
	addresses := []string{"0.0.0.0", "::", "127.0.0.1", "::1", "10.0.0.1", "fe80::1%eth0", "not an address"}
	random := func() []Holder {
		var all []Holder
		for range rng.IntN(12) {
			h := Holder{Protocol: port.Protocols[rng.IntN(2)], Address: addresses[rng.IntN(len(addresses))], Port: uint16(1 + rng.IntN(3)), State: "listen"}
			switch rng.IntN(8) {
			case 0:
				h.Kernel = true
			case 1:
			default:
				by([]string{"nginx", "evil", "sh"}[rng.IntN(3)], 1+rng.IntN(100))(&h)
				as([]string{"root", "alice"}[rng.IntN(2)], rng.IntN(2))(&h)
				h.Unit = []string{"", "a.service", "b.service"}[rng.IntN(3)]
				if rng.IntN(4) == 0 {
					without([]string{"executable", "user", "unit", "container"}[rng.IntN(4)])(&h)
				}
				if rng.IntN(4) == 0 {
					h.Container = &Container{ID: fmt.Sprint(rng.IntN(3)), Name: []string{"", "web", "api"}[rng.IntN(3)]}
				}
			}
			if h.Address == "::" && rng.IntN(2) == 0 {
				serves6Only(rng.IntN(2) == 0)(&h)
			}
			if h.Address == "0.0.0.0" && rng.IntN(4) == 0 {
				onDevice("eth1")(&h)
			}
			all = append(all, h)
		}
		return all
	}
	for range 4000 {
		before, now := random(), random()
		c := Compare(listingOf(before), listingOf(now), CompareOptions{})
		text := changesText(c)
		applied := slices.Clone(before)
		for _, x := range c.Changes {
			applied = slices.DeleteFunc(applied, func(h Holder) bool {
				return slices.ContainsFunc(x.Before, func(o Holder) bool { return endpointKey(o) == endpointKey(h) })
			})
		}
		for _, x := range c.Changes {
			applied = append(applied, x.Holders...)
		}
		if rest := Compare(listingOf(applied), listingOf(now), CompareOptions{}); len(rest.Changes) > 0 || rest.Same+len(rest.Unknown) != len(keysOf(now)) {
			t.Fatalf("before %v\nnow %v\nchanges %s\nstill there %s", before, now, text, changesText(rest))
		}
		if self := Compare(listingOf(now), listingOf(now), CompareOptions{}); len(self.Changes) > 0 {
			t.Fatalf("%v differs from itself: %s", now, changesText(self))
		}
		if got, want := c.Same+len(c.Unknown), len(keysOf(now))-len(c.Changes)+count(c, Gone); got != want {
			t.Fatalf("%d same or unknown of %d, changes %s", got, len(keysOf(now)), text)
		}
		rng.Shuffle(len(now), func(i, j int) { now[i], now[j] = now[j], now[i] })
		rng.Shuffle(len(before), func(i, j int) { before[i], before[j] = before[j], before[i] })
		again := Compare(listingOf(before), listingOf(now), CompareOptions{})
		if kindsText(again) != kindsText(c) {
			t.Fatalf("in another order: %s, before: %s", changesText(again), text)
		}
	}
}

func endpointKey(h Holder) string { return fmt.Sprint(h.Protocol, h.Port, h.Place()) }

func keysOf(sockets []Holder) map[string]bool {
	all := map[string]bool{}
	for _, h := range sockets {
		all[endpointKey(h)] = true
	}
	return all
}

func count(c Comparison, kind ChangeKind) int {
	n := 0
	for _, x := range c.Changes {
		if x.Kind == kind {
			n++
		}
	}
	return n
}

func kindsText(c Comparison) string {
	for i := range c.Changes {
		c.Changes[i].Was = nil
	}
	return changesText(c)
}

// With many programs on one socket, another one is still known to be another.
func TestCompareManyPrograms(t *testing.T) {
	var many []Holder
	for i := range 2 * mostPairs {
		many = append(many, listens(t, "0.0.0.0:80", by(fmt.Sprint("a", i), 1)))
	}
	one := []Holder{listens(t, "0.0.0.0:80", by("nginx", 1))}
	for _, c := range [][2][]Holder{{one, many}, {many, one}, {many, append(one, many...)}} {
		if got := changesText(Compare(listingOf(c[0]), listingOf(c[1]), CompareOptions{})); got != "changed-hands tcp 0.0.0.0:80" {
			t.Errorf("%d programs after %d: %q", len(c[1]), len(c[0]), got)
		}
	}
}

// The cost grows with the listeners, not with their pairs: on one port with thousands
// of addresses, with thousands of programs on one socket, and on thousands of ports.
func TestCompareIsLinear(t *testing.T) {
	address := func(first byte, i int) string { return fmt.Sprintf("%d.%d.%d.%d:80", first, i>>16, i>>8&255, i&255) }
	for name, add := range map[string]func(i int) (before, now []Holder){
		"addresses": func(i int) (before, now []Holder) {
			program := by(fmt.Sprint("a", i), 1)
			return []Holder{listens(t, "127.0.0.1:80", by("nginx", 1)), listens(t, address(10, i), program)}, []Holder{listens(t, address(11, i), program)}
		},
		"programs": func(i int) (before, now []Holder) {
			return []Holder{listens(t, "0.0.0.0:80", by(fmt.Sprint("a", i), 1), without("unit"))}, []Holder{listens(t, "0.0.0.0:80", by(fmt.Sprint("b", i), 1), without("container"))}
		},
		"ports": func(i int) (before, now []Holder) {
			return []Holder{listens(t, fmt.Sprintf("0.0.0.0:%d", i+1), by("nginx", 1))}, []Holder{listens(t, fmt.Sprintf("[::]:%d", i+1))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			testbed.Linear(t, 20_000, func(size int) func() {
				var before, now []Holder
				for i := range size {
					b, n := add(i)
					before, now = append(before, b...), append(now, n...)
				}
				return func() { Compare(listingOf(before), listingOf(now), CompareOptions{}) }
			})
		})
	}
}

// A backslash is a part of a name on all systems but Windows: a file of such a name is
// not the program after it.
func TestBaseName(t *testing.T) {
	for executable, want := range map[string]string{
		`/usr/sbin/nginx`: "nginx", `/tmp/x\nginx`: `x\nginx`, `/tmp/c:\nginx`: `c:\nginx`, `(unreachable)/tmp/x\nginx`: `x\nginx`,
		`C:\Program Files\nginx.exe`: "nginx.exe", `\Device\HarddiskVolume3\nginx.exe`: "nginx.exe", `\\files\bin\nginx.exe`: "nginx.exe",
	} {
		if got := BaseName(executable); got != want {
			t.Errorf("%s: %q, want %q", executable, got, want)
		}
		nginx := config.Owner{Process: "nginx*"}
		h := Holder{PID: 7, Executable: executable}
		if got := isHolder(nginx, h, ""); got != strings.HasPrefix(want, "nginx") {
			t.Errorf("%s is nginx: %t", executable, got)
		}
		asked := host.Holder{PID: 7, Executable: executable, Process: "nginx", File: host.FileRoots}
		listed := newListed(socketAt(port.TCP, "::", 80, host.Listen), &asked, host.Machine{})
		if got := listed.Proves(nginx); listed.Process != want || got != strings.HasPrefix(want, "nginx") {
			t.Errorf("%s: a listener of %q, which is nginx: %t", executable, listed.Process, got)
		}
	}
}
