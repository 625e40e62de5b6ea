package cli

import (
	"slices"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

// Each system has its own ports that it chooses.
func TestListenersOnEphemeralPorts(t *testing.T) {
	sockets := []check.Holder{
		{Protocol: port.TCP, Address: "0.0.0.0", Port: 40000, State: "listen", Process: "a", Executable: "/usr/bin/a"},
		{Protocol: port.TCP, Address: "0.0.0.0", Port: 61000, State: "listen", Process: "b", Executable: "/usr/bin/b"},
	}
	for _, c := range []struct {
		ephemeral port.Range
		want      []uint16
	}{
		{port.Range{First: 32768, Last: 60999}, []uint16{61000}},
		{port.Range{First: 49152, Last: 65535}, []uint16{40000}},
		{port.Range{}, []uint16{40000, 61000}},
	} {
		ephemeral := new(port.Bits)
		if c.ephemeral.First > 0 {
			ephemeral.AddSet(port.Set{c.ephemeral})
		}
		d := listened(sockets, ephemeral)
		var got []uint16
		for _, p := range d.Ports {
			got = append(got, p.Ports.First)
		}
		if !slices.Equal(got, c.want) || len(d.Left) != 2-len(c.want) {
			t.Errorf("%s: %v %q, want %v", c.ephemeral, got, d.Left, c.want)
		}
	}
}
