package host

import (
	"context"
	"net"
	"testing"

	"github.com/org/portcheck/port"
)

// benchListeners opens some listeners of its own, on ports of the kernel's
// choice, so that there is something to read.
func benchListeners(b *testing.B, count int) []uint16 {
	b.Helper()
	ports := make([]uint16, count)
	for i := range ports {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { l.Close() })
		ports[i] = uint16(l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func BenchmarkTable(b *testing.B) {
	some := new(port.Bits)
	for _, p := range benchListeners(b, 200)[:10] {
		some.Add(p)
	}
	for name, q := range map[string]query{
		"everything that holds a port": {protocol: port.TCP},
		"ten ports":                    {protocol: port.TCP, ports: some},
		"ten ports, every state":       {protocol: port.TCP, ports: some, every: true},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := readDiag(context.Background(), q, newDevices()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("proc", func(b *testing.B) { // what sock_diag is there to avoid
		for b.Loop() {
			if _, err := readProcNet(query{protocol: port.TCP}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkBind(b *testing.B) {
	try := Try{Binding: port.Binding{Protocol: port.TCP, Addresses: []port.Address{port.Any}, ReuseAddress: true}, Ports: port.One(benchListeners(b, 1)[0])}
	for b.Loop() {
		newProbe(b.Context(), Request{}).attempt(try, nil, true)
	}
}

func BenchmarkHolders(b *testing.B) {
	wanted := port.Set{}
	for _, p := range benchListeners(b, 10) {
		wanted = append(wanted, port.One(p))
	}
	bits := new(port.Bits)
	bits.AddSet(wanted)
	sockets, err := readDiag(context.Background(), query{protocol: port.TCP, ports: bits}, newDevices())
	if err != nil {
		b.Fatal(err)
	}
	for name, every := range map[string]bool{"until found": false, "every process": true} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				all := make([]*Socket, len(sockets))
				for i := range sockets {
					s := sockets[i]
					all[i] = &s
				}
				findHolders(context.Background(), all, holderQuery{every: every, most: MostHolders})
				if len(all[0].Holders) == 0 {
					b.Fatal("the holder was not found")
				}
			}
		})
	}
}

func BenchmarkScan(b *testing.B) {
	whole := newTable(nil)
	binding := port.Binding{Protocol: port.TCP, Addresses: []port.Address{port.Any}}
	for b.Loop() {
		(port.Set{{First: 1024, Last: 65535}}).Without(func(n uint16) bool { return len(whole.at(binding, n)) > 0 })
	}
}
