package check

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// As much as a reply by SSH can have, of what the limits allow, is judged in linear time.
func TestLargeAnswersAreJudgedInLinearTime(t *testing.T) {
	const most = 10_000
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, byte(i >> 16), byte(i >> 8), byte(i)}) }
	sockets := func(p uint16, many int, uid func(i int) int) (all []host.Socket) {
		for i := range many {
			of := uint32(uid(i))
			all = append(all, host.Socket{Endpoint: port.Endpoint{Protocol: port.TCP, Addr: addr(i), Port: p}, State: host.Listen, UID: &of})
		}
		return all
	}
	one := func(int) int { return 1 }
	each := func(i int) int { return i }
	routes := func(of *host.Tried, many int, to func(i int) host.Destination) {
		for i := range many * host.MostRoutes / most {
			r := host.Route{Port: of.Attempts[i/host.MostRoutesOfPort].Port, All: true, Rule: host.Rule{Table: "nat", Text: fmt.Sprint(i)}}
			for k := range 16 {
				r.To = append(r.To, to(16*i+k))
			}
			of.Routes = append(of.Routes, r)
		}
		for _, a := range of.Attempts[many*host.MostRoutes/most/host.MostRoutesOfPort:] {
			of.Routes = append(of.Routes, slices.Repeat([]host.Route{{Port: a.Port, All: true}}, host.MostRoutesOfPort)...)
		}
	}
	for name, change := range map[string]func(f *host.Facts, many int){
		"sockets of many users": func(f *host.Facts, many int) { f.Sockets = sockets(8080, many, each) },
		"sockets of one user":   func(f *host.Facts, many int) { f.Sockets = sockets(8080, many, one) },
		"routes to the need itself": func(f *host.Facts, many int) {
			routes(&f.Tried[1], many, func(i int) host.Destination { return host.Destination{Addr: addr(i), Port: 20000, Here: true} })
		},
		"routes to many sockets": func(f *host.Facts, many int) {
			f.Sockets = sockets(9090, many, each)
			routes(&f.Tried[1], many, func(int) host.Destination { return host.Destination{Port: 9090, Here: true} })
		},
		"routes to a port of many other sockets": func(f *host.Facts, many int) {
			f.Sockets = sockets(9090, many, one)
			routes(&f.Tried[1], many, func(i int) host.Destination { return host.Destination{Addr: addr(many + i), Port: 9090, Here: true} })
		},
		"allocations and sockets": func(f *host.Facts, many int) {
			f.Sockets = sockets(8080, many, one)
			for i := range many * 1024 / most {
				e := port.Endpoint{Protocol: port.TCP, Addr: addr(many + i), Port: 8080}
				f.Allocated = append(f.Allocated, host.Allocation{Endpoint: e, Container: fmt.Sprint(i), User: 1})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			own := owner(config.Owner{User: "www-data"})
			testbed.Linear(t, most, func(many int) func() {
				needs := []Need{needOf("a.yml", "x", own), needOf("a.yml", "y", ports(20000, 20000+uint16(3*many)), own), needOf("a.yml", "z", only("127.0.0.0"))}
				target := targetOf("local", altered{&sim{}, func(f *host.Facts) { change(f, many) }})
				return func() { run(t, needs, Options{}, target) }
			})
		})
	}
}

// A target may not have more routes than a probe lists.
func TestRoutesInAllAreLimited(t *testing.T) {
	for more, want := range map[int]Status{0: Redirected, 1: Unknown} {
		r := run(t, []Need{needOf("a.yml", "y", ports(20000, 30000))}, Options{}, targetOf("local", altered{&sim{}, func(f *host.Facts) {
			for i := range host.MostRoutes + more {
				f.Tried[0].Routes = append(f.Tried[0].Routes, host.Route{Port: f.Tried[0].Attempts[i].Port, All: true, Rule: host.Rule{Table: "nat"}})
			}
		}}))
		if got := r.Results[0]; got.Status != want {
			t.Errorf("%d more: %s: %s", more, got.Status, got.Message)
		}
	}
}
