package host

import (
	"net/netip"
	"testing"

	"github.com/org/portcheck/port"
)

// A scan leaves out the ports that the OS reserves, of its own protocol.
func TestScanExcluded(t *testing.T) {
	scan := func(protocol port.Protocol) Scan {
		return Scan{Binding: port.Binding{Protocol: protocol, Addresses: []port.Address{port.Any}}, Ports: port.Set{{First: 8000, Last: 8004}}}
	}
	p := newProbe(t.Context(), Request{Scans: []Scan{scan(port.TCP), scan(port.UDP)}})
	p.whole = map[port.Protocol]bool{port.TCP: true, port.UDP: true}
	p.facts.Limits = Limits{Reserved: port.Set{port.One(8004)}, Excluded: map[port.Protocol]port.Set{port.TCP: {{First: 8001, Last: 8002}}}}
	p.answerScans()
	if got, want := p.facts.Open[0].String()+" "+p.facts.Open[1].String(), "8000,8003 8000-8003"; got != want {
		t.Errorf("open: %s, want %s", got, want)
	}
}

func TestShares(t *testing.T) {
	at := func(addr, device string) port.Endpoint {
		return port.Endpoint{Protocol: port.TCP, Addr: netip.MustParseAddr(addr), Port: 8080, Device: device}
	}
	for name, c := range map[string]struct {
		socket Socket
		e      port.Endpoint
		want   bool
	}{
		"the same address":            {Socket{Endpoint: at("127.0.0.1", ""), State: Listen}, at("127.0.0.1", ""), true},
		"another address":             {Socket{Endpoint: at("127.0.0.1", ""), State: Listen}, at("127.0.0.2", ""), false},
		"not listening":               {Socket{Endpoint: at("127.0.0.1", ""), State: Bound}, at("127.0.0.1", ""), false},
		"a connection":                {Socket{Endpoint: at("127.0.0.1", ""), State: Connected}, at("127.0.0.1", ""), false},
		"a device, and everywhere":    {Socket{Endpoint: at("0.0.0.0", "eth0"), State: Listen}, at("0.0.0.0", ""), true},
		"a device, and loopback":      {Socket{Endpoint: at("0.0.0.0", "eth0"), State: Listen}, at("127.0.0.1", ""), false},
		"the loopback device, and it": {Socket{Endpoint: at("0.0.0.0", "lo"), State: Listen}, at("127.0.0.1", ""), true},
		"no device, and loopback":     {Socket{Endpoint: at("0.0.0.0", ""), State: Listen}, at("127.0.0.1", ""), true},
		"a device, and IPv6 loopback": {Socket{Endpoint: at("::", "eth0"), State: Listen}, at("::1", ""), false},
	} {
		if got := c.socket.Shares(c.e); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
