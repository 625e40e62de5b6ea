package host

import (
	"net/netip"
	"os"
	"testing"

	"github.com/org/portcheck/port"
)

// TestStable checks which results will not change by themselves any more.
func TestStable(t *testing.T) {
	tcp := port.Endpoint{Protocol: port.TCP, Addr: netip.MustParseAddr("127.0.0.1"), Port: 8080}
	udp := tcp
	udp.Protocol = port.UDP
	socket := func(e port.Endpoint, s State, inode uint64) Socket {
		return Socket{Endpoint: e, State: s, Inode: inode}
	}
	list := func(s ...Socket) []Socket { return s }
	listener, bound, connected := socket(tcp, Listen, 1), socket(tcp, Bound, 2), socket(tcp, Connected, 3)
	timeWait, datagrams, peer := socket(tcp, TimeWait, 0), socket(udp, Listen, 4), socket(udp, Connected, 5)
	elsewhere := socket(port.Endpoint{Protocol: port.TCP, Addr: netip.MustParseAddr("127.0.0.2"), Port: 8080}, Listen, 6)

	for name, c := range map[string]struct {
		endpoint    port.Endpoint
		outcome     Outcome
		share       bool
		before, now []Socket
		strangers   []Socket // of processes other than portcheck
		want        bool
	}{
		"free":                                   {endpoint: tcp, outcome: OK, want: true},
		"free beside the same bound socket":      {endpoint: tcp, outcome: OK, before: list(bound), now: list(bound), want: true},
		"free beside a new bound socket":         {endpoint: tcp, outcome: OK, now: list(bound), want: false},
		"free, the bound socket has gone":        {endpoint: tcp, outcome: OK, before: list(bound), want: true},
		"free beside a connection":               {endpoint: tcp, outcome: OK, now: list(connected), want: true},
		"denied":                                 {endpoint: tcp, outcome: Denied, want: true},
		"in use, no socket shown":                {endpoint: tcp, outcome: InUse, want: false},
		"in use by a listener":                   {endpoint: tcp, outcome: InUse, now: list(listener), want: true},
		"in use by a listener elsewhere":         {endpoint: tcp, outcome: InUse, now: list(elsewhere), want: false},
		"in use by a listener, a check beside":   {endpoint: tcp, outcome: InUse, now: list(listener, bound), want: true},
		"in use by a connection":                 {endpoint: tcp, outcome: InUse, now: list(connected), want: true},
		"in use by TIME_WAIT":                    {endpoint: tcp, outcome: InUse, now: list(timeWait), want: true},
		"in use by TIME_WAIT or a check":         {endpoint: tcp, outcome: InUse, before: list(bound), now: list(timeWait, bound), want: false},
		"in use by a bound socket":               {endpoint: tcp, outcome: InUse, before: list(bound), now: list(bound), want: false},
		"in use by a stranger's bound socket":    {endpoint: tcp, outcome: InUse, before: list(bound), now: list(bound), strangers: list(bound), want: true},
		"in use by a stranger's new socket":      {endpoint: tcp, outcome: InUse, now: list(bound), strangers: list(bound), want: false},
		"UDP in use, maybe by a check":           {endpoint: udp, outcome: InUse, before: list(datagrams), now: list(datagrams), want: false},
		"UDP in use by a stranger":               {endpoint: udp, outcome: InUse, before: list(datagrams), now: list(datagrams), strangers: list(datagrams), want: true},
		"UDP in use by a connected socket":       {endpoint: udp, outcome: InUse, now: list(peer), want: true},
		"not tried, to spare a server":           {endpoint: tcp, outcome: NotTried, share: true, before: list(listener), now: list(listener), want: true},
		"not tried, and the server has gone":     {endpoint: tcp, outcome: NotTried, share: true, before: list(listener), want: false},
		"not tried, and the server is elsewhere": {endpoint: tcp, outcome: NotTried, share: true, now: list(elsewhere), want: false},
	} {
		t.Run(name, func(t *testing.T) {
			b := port.Binding{Protocol: c.endpoint.Protocol, Addresses: []port.Address{"127.0.0.1"}, ReusePort: c.share}
			p := &probe{strangers: map[socketKey]bool{}}
			p.req.Tries = []Try{{Binding: b, Ports: port.One(8080)}}
			p.facts.Tried = []Tried{{Attempts: []Attempt{{Endpoint: c.endpoint, Outcome: c.outcome}}}}
			p.seen = [][]Socket{c.now}
			for _, s := range c.strangers {
				p.strangers[keyOf(s)] = true
			}
			if got := p.stable(0, c.before); got != c.want {
				t.Errorf("stable: %t, want %t", got, c.want)
			}
		})
	}
}

func TestMayBePortcheck(t *testing.T) {
	t.Parallel()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for exe, want := range map[string]bool{
		own: true, "/usr/local/bin/portcheck": true, "/portcheck": true, "portcheck.exe": true,
		"":                true, // unknown
		"/usr/sbin/named": false, "/usr/bin/portcheckd": false, "/opt/portcheck/named": false,
	} {
		if got := mayBePortcheck(Holder{PID: 1, Executable: exe}); got != want {
			t.Errorf("%q: %t, want %t", exe, got, want)
		}
	}
}

// A first pass that explains every result is not followed by a second one.
func TestFirstPassSuffices(t *testing.T) {
	at := func(addr string) port.Endpoint {
		return port.Endpoint{Protocol: port.TCP, Addr: netip.MustParseAddr(addr), Port: 8080}
	}
	attempt := func(addr string, outcome Outcome) Attempt { return Attempt{Endpoint: at(addr), Outcome: outcome} }
	socket := func(addr string, state State) Socket { return Socket{Endpoint: at(addr), State: state, Inode: 1} }
	udp := func(s Socket) Socket { s.Protocol = port.UDP; return s }
	for name, c := range map[string]struct {
		try      Try
		attempts []Attempt
		seen     []Socket
		want     bool
	}{
		"look":                         {Try{Look: true}, []Attempt{attempt("::1", NotTried)}, []Socket{socket("::1", Listen)}, true},
		"look, every holder":           {Try{Look: true, Owners: true}, []Attempt{attempt("::1", NotTried)}, []Socket{socket("::1", Listen)}, true},
		"every holder":                 {Try{Owners: true}, []Attempt{attempt("::1", InUse)}, []Socket{socket("::1", Listen)}, false},
		"a listener":                   {Try{}, []Attempt{attempt("::1", InUse)}, []Socket{socket("::1", Listen)}, true},
		"a bound socket":               {Try{}, []Attempt{attempt("::1", InUse)}, []Socket{socket("::1", Bound)}, false},
		"no socket":                    {Try{}, []Attempt{attempt("::1", InUse)}, nil, false},
		"a listener elsewhere":         {Try{}, []Attempt{attempt("::1", InUse)}, []Socket{socket("127.0.0.1", Listen)}, false},
		"one of two explained":         {Try{}, []Attempt{attempt("127.0.0.1", InUse), attempt("::1", InUse)}, []Socket{socket("::1", Listen)}, false},
		"both explained":               {Try{}, []Attempt{attempt("127.0.0.1", InUse), attempt("::1", InUse)}, []Socket{socket("127.0.0.1", Listen), socket("::1", Listen)}, true},
		"one free, one with listener":  {Try{}, []Attempt{attempt("127.0.0.1", OK), attempt("::1", InUse)}, []Socket{socket("::1", Listen)}, true},
		"free beside a bound socket":   {Try{}, []Attempt{attempt("::1", OK)}, []Socket{socket("::1", Bound)}, false},
		"spared, beside a listener":    {Try{}, []Attempt{attempt("::1", NotTried)}, []Socket{socket("::1", Listen)}, false},
		"denied, beside a listener":    {Try{}, []Attempt{attempt("::1", Denied)}, []Socket{socket("::1", Listen)}, false},
		"a UDP socket is not for good": {Try{}, []Attempt{{Endpoint: udp(socket("::1", Listen)).Endpoint, Outcome: InUse}}, []Socket{udp(socket("::1", Listen))}, false},
	} {
		p := &probe{req: Request{Tries: []Try{c.try}}, seen: [][]Socket{c.seen}, facts: Facts{Tried: []Tried{{Attempts: c.attempts}}}}
		if got := p.firstPassSuffices(0); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
