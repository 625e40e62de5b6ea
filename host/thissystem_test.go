package host

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/org/portcheck/port"
)

// TestThisSystem probes a port that this process holds, and the same port when nobody
// does, with the binds, the table and the search for holders of whichever system the
// tests run on. For systems other than Linux it is the only test with real sockets.
func TestThisSystem(t *testing.T) {
	for _, protocol := range port.Protocols {
		for _, c := range []struct {
			network, at string
			address     port.Address
		}{{"4", "127.0.0.1:0", "127.0.0.1"}, {"6", "[::1]:0", "::1"}, {"4", "0.0.0.0:0", port.Any4}} {
			t.Run(string(protocol)+c.at, func(t *testing.T) {
				if c.network == "6" && !haveIPv6() {
					return
				}
				closed, local := holdPort(t, protocol, c.network, c.at)
				try := Try{Binding: port.Binding{Protocol: protocol, Addresses: []port.Address{c.address}, ReuseAddress: protocol == port.TCP}, Ports: port.One(local.Port())}
				probe := func() (Attempt, []Socket, []Gap) {
					facts, err := Local{}.Probe(t.Context(), Request{Tries: []Try{try}})
					if err != nil || len(facts.Tried) != 1 || len(facts.Tried[0].Attempts) != 1 {
						t.Fatalf("%v: %+v", err, facts)
					}
					at := slices.DeleteFunc(facts.Sockets, func(s Socket) bool {
						return s.Protocol != protocol || s.Port != local.Port() || s.State != Listen || s.Addr != local.Addr()
					})
					return facts.Tried[0].Attempts[0], at, facts.Gaps
				}
				a, sockets, gaps := probe()
				if a.Outcome != InUse {
					t.Errorf("held: %+v", a)
				}
				named := func(s Socket) bool {
					return slices.ContainsFunc(s.Holders, func(h Holder) bool { return h.PID == os.Getpid() && h.Executable != "" })
				}
				// Without lsof in FreeBSD's base system there is no table, and netstat shows no processes.
				if whole := runtime.GOOS == "linux" || runtime.GOOS == "darwin" || runtime.GOOS == "windows"; whole && !slices.ContainsFunc(sockets, named) {
					t.Errorf("this process is no holder: %+v, %+v", sockets, gaps)
				}
				if runtime.GOOS == "darwin" && os.Geteuid() == 0 && !slices.ContainsFunc(sockets, func(s Socket) bool { return s.Complete }) {
					t.Errorf("root does not see every holder: %+v, %+v", sockets, gaps)
				}
				closed()
				if a, sockets, _ := probe(); a.Outcome != OK || len(sockets) > 0 {
					t.Errorf("not held: %+v, %+v", a, sockets)
				}
			})
		}
	}
}

// holdPort listens, or binds a UDP socket, until the function that it returns is called.
func holdPort(t *testing.T, protocol port.Protocol, network, at string) (release func(), local netip.AddrPort) {
	t.Helper()
	var closer interface{ Close() error }
	var addr net.Addr
	if protocol == port.TCP {
		l, err := net.Listen("tcp"+network, at)
		if err != nil {
			t.Fatal(err)
		}
		closer, addr = l, l.Addr()
	} else {
		c, err := net.ListenPacket("udp"+network, at)
		if err != nil {
			t.Fatal(err)
		}
		closer, addr = c, c.LocalAddr()
	}
	t.Cleanup(func() { _ = closer.Close() }) // the test may have closed it
	return func() { _ = closer.Close() }, netip.MustParseAddrPort(addr.String())
}
