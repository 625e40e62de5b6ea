package check

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// A verdict by the table alone is never ok where the verdict by a bind is not. It is
// never in-use where the bind succeeds.
func TestTableAloneAgreesWithBinds(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	occupy(t)
	read := func(_ context.Context, path string) ([]byte, error) { return os.ReadFile(path) }
	files := host.FromFiles(read, host.Machine{Arch: runtime.GOARCH, UID: os.Geteuid()}, "nothing runs there")
	compare := func(when string) {
		report, err := Run(t.Context(), everyNeed(), []Target{targetOf("binds", host.Local{}), targetOf("table", files)}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[Status]int{}
		for i := 0; i < len(report.Results); i += 2 {
			bind, table := report.Results[i], report.Results[i+1]
			seen[table.Status]++
			if table.OK && !bind.OK || table.Method != Table {
				t.Errorf("%s, %s: by the table %s (%s), by a bind %s: %s", when, table.ID, table.Status, table.Method, bind.Status, bind.Message)
			}
			if !table.OK && bind.OK && table.Status != Unknown && !knowinglyStrict(table) {
				t.Errorf("%s, %s: by a bind %s, by the table %s: %s", when, table.ID, bind.Status, table.Status, table.Message)
			}
		}
		if seen[Free] == 0 || seen[InUse] == 0 || seen[Unknown] == 0 || seen[Listening] == 0 {
			t.Errorf("%s: want results of each status: %v", when, seen)
		}
	}
	compare("IPv6 on")
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
		testbed.Missing(t, err.Error())
	}
	compare("IPv6 off")
}

// knowinglyStrict reports whether a result is about the V6ONLY listener on 8083.
// /proc/net does not show V6ONLY, so the table counts the listener for IPv4 too.
func knowinglyStrict(r Result) bool { return r.Port == 8083 && r.Status == InUse }

// occupy opens sockets on ports from 8080 on: listeners, with a V6ONLY one on 8083,
// a connection from 8084, and one that was accepted on 8085 before its listener was
// closed.
func occupy(t *testing.T) {
	t.Helper()
	must := func(closer interface{ Close() error }, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = closer.Close() }) // it may be closed
	}
	for _, l := range []struct{ network, addr string }{{"tcp", "127.0.0.1:8080"}, {"tcp", ":8081"}, {"tcp", "[::1]:8082"}, {"tcp6", "[::]:8083"}} {
		must(net.Listen(l.network, l.addr))
	}
	must(net.ListenPacket("udp", "127.0.0.1:8080"))
	must(net.ListenPacket("udp", ":8081"))
	must(net.Dial("udp", "127.0.0.1:8080"))
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8084}}
	must(dialer.Dial("tcp", "127.0.0.1:8080"))
	served, err := net.Listen("tcp", "127.0.0.1:8085")
	must(served, err)
	must(net.Dial("tcp", "127.0.0.1:8085"))
	must(served.Accept())
	if err := served.Close(); err != nil {
		t.Fatal(err)
	}
}

// everyNeed returns a need of each kind for each port, protocol and address, on each
// of the two targets.
func everyNeed() []Need {
	var all []Need
	for number := uint16(8080); number <= 8086; number++ {
		for _, proto := range port.Protocols {
			for _, address := range []port.Address{port.Any, port.Any4, port.Any6, port.Loopback, "127.0.0.1", "127.0.0.9", "::1", "192.0.2.1"} {
				for kind, change := range map[string]func(*Need){
					"plain": func(*Need) {}, "exclusive": exclusive, "sharing": reusePort, "listening": listening,
				} {
					n := Need{Port: config.Port{
						Name: fmt.Sprintf("%s-%s-%d-%s", kind, proto, number, address), Ports: port.One(number),
						Protocols: []port.Protocol{proto}, Addresses: []port.Address{address}, Expect: config.Free, Severity: config.SeverityError,
					}}
					change(&n)
					for _, target := range []string{"binds", "table"} {
						n.Target = target
						all = append(all, n)
					}
				}
			}
		}
	}
	return slices.Clip(all)
}

func exclusive(n *Need) { n.ReuseAddress = new(bool) }
