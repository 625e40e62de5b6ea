package host

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/org/portcheck/port"
)

func TestSocketUnitListensAt(t *testing.T) {
	u := socketUnit{listen: []listenAddress{{"Stream", "[::]:8080"}, {"Stream", "127.0.0.1:81"}, {"Datagram", "0.0.0.0:53"}, {"Stream", "/run/x"}, {"Stream", "[fe80::1%2]:82"}}}
	at := func(proto port.Protocol, text string) port.Endpoint {
		a := netip.MustParseAddrPort(text)
		return port.Endpoint{Protocol: proto, Addr: a.Addr(), Port: a.Port()}
	}
	for _, c := range []struct {
		endpoint port.Endpoint
		want     bool
	}{
		{at(port.TCP, "[::]:8080"), true},
		{at(port.UDP, "[::]:8080"), false},
		{at(port.TCP, "0.0.0.0:8080"), false},
		{at(port.TCP, "[::]:8081"), false},
		{at(port.TCP, "[::ffff:127.0.0.1]:81"), true},
		{at(port.UDP, "0.0.0.0:53"), true},
		{at(port.TCP, "[fe80::1]:82"), true},
	} {
		if got := u.listensAt(c.endpoint); got != c.want {
			t.Errorf("%s: %v", c.endpoint, got)
		}
	}
}

// Two units at one address can't be told apart.
func TestWithSocketUnit(t *testing.T) {
	a := socketUnit{"a.socket", []listenAddress{{"Stream", "[::]:8080"}}, []string{"a.service"}}
	b := socketUnit{"b.socket", a.listen, nil}
	other := socketUnit{"c.socket", []listenAddress{{"Stream", "[::]:8081"}}, nil}
	for name, c := range map[string]struct {
		unit  string
		units []socketUnit
		want  string // the holder's unit, or "unseen"
	}{
		"of the system":  {"init.scope", []socketUnit{other, a}, "a.socket"},
		"of a user":      {"user@1000.service/init.scope", []socketUnit{a}, "user@1000.service/a.socket"},
		"of one of two":  {"init.scope", []socketUnit{a, b}, "unseen"},
		"of none":        {"init.scope", []socketUnit{other}, "unseen"},
		"without answer": {"init.scope", nil, "unseen"},
	} {
		s := &Socket{Endpoint: port.Endpoint{Protocol: port.TCP, Addr: netip.IPv6Unspecified(), Port: 8080}}
		got := withSocketUnit(Holder{Unit: c.unit}, s, c.units)
		if unseen := len(got.Unseen) > 0; unseen != (c.want == "unseen") || !unseen && (got.Unit != c.want || len(s.Units) != 2) {
			t.Errorf("%s: %+v, units %q", name, got, s.Units)
		}
	}
}

// What listens in the place of a service manager may answer anything.
func FuzzBus(f *testing.F) {
	f.Add([]byte("OK 0123\r\nl\x02\x01\x01\x08\x00\x00\x00\x01\x00\x00\x00\x08\x00\x00\x00\x05\x01u\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("REJECTED\r\n"))
	f.Add([]byte("OK \r\nB\x02\x01\x01\xff\xff\xff\xff\x00\x00\x00\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() {
			defer theirs.Close()
			buffer := make([]byte, 4096)
			_, _ = theirs.Read(buffer) // the greeting
			go func() {
				for {
					if _, err := theirs.Read(buffer); err != nil {
						return
					}
				}
			}()
			_, _ = theirs.Write(answer) // the reader may have given up
		}()
		if err := ours.SetDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		c := &busConn{Conn: ours}
		if c.authenticate() != nil {
			return
		}
		units, err := c.socketUnits()
		if err == nil && len(units) > mostSocketUnits {
			t.Errorf("%d units", len(units))
		}
	})
}
