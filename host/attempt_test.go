package host

import (
	"net/netip"
	"testing"

	"github.com/org/portcheck/port"
)

func TestExplainExcluded(t *testing.T) {
	at := func(protocol port.Protocol, n uint16) port.Endpoint {
		return port.Endpoint{Protocol: protocol, Addr: netip.MustParseAddr("0.0.0.0"), Port: n}
	}
	windows := Limits{Excluded: map[port.Protocol]port.Set{port.TCP: {{First: 50000, Last: 50059}}}}
	for name, c := range map[string]struct {
		limits  Limits
		attempt Attempt
		visible []Socket
		want    Outcome
	}{
		"kept back":               {windows, Attempt{Endpoint: at(port.TCP, 50059), Outcome: Denied}, nil, Excluded},
		"beside the range":        {windows, Attempt{Endpoint: at(port.TCP, 50060), Outcome: Denied}, nil, Denied},
		"of the other protocol":   {windows, Attempt{Endpoint: at(port.UDP, 50000), Outcome: Denied}, nil, Denied},
		"an administrator's":      {windows, Attempt{Endpoint: at(port.TCP, 50000), Outcome: OK}, nil, OK},
		"an exclusive listener":   {windows, Attempt{Endpoint: at(port.TCP, 50000), Outcome: Denied}, []Socket{{Endpoint: at(port.TCP, 50000), State: Listen}}, Denied},
		"a system that has none":  {Limits{}, Attempt{Endpoint: at(port.TCP, 80), Outcome: Denied}, nil, Denied},
		"a failure of other kind": {windows, Attempt{Endpoint: at(port.TCP, 50000), Outcome: InUse}, nil, InUse},
	} {
		t.Run(name, func(t *testing.T) {
			attempts := []Attempt{c.attempt}
			c.limits.markExcluded(attempts, c.visible)
			if got := attempts[0].Outcome; got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// Without a table, a binding that could share a server's port is not made.
func TestAttemptUnseen(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]port.Binding{
		"tcp reuse_port":    {Protocol: port.TCP, ReusePort: true},
		"udp reuse_port":    {Protocol: port.UDP, ReusePort: true},
		"udp reuse_address": {Protocol: port.UDP, ReuseAddress: true},
	} {
		b.Addresses = []port.Address{port.Loopback}
		attempts := newProbe(t.Context(), Request{}).attempt(Try{Binding: b, Ports: port.Range{First: 8080, Last: 8081}}, nil, false)
		if len(attempts) != 4 {
			t.Errorf("%s: %d attempts", name, len(attempts))
		}
		for _, a := range attempts {
			if a.Outcome != NotTried {
				t.Errorf("%s: %+v", name, a)
			}
		}
	}
}
