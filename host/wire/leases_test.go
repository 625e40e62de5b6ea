package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/port"
)

// keeping is a host that gives each want the port 8080 and keeps the IDs of its leases.
type keeping struct {
	answering
	mu   sync.Mutex
	held []string
}

func (k *keeping) Hold(_ context.Context, req host.LeaseRequest) (host.LeaseReply, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case req.Start != nil && req.Start.ID == "none":
		return host.LeaseReply{Unmet: new(int)}, nil
	case req.Start != nil && req.Start.ID == "broken":
		return host.LeaseReply{}, errors.New("no fork")
	case req.Start != nil:
		k.held = append(k.held, req.Start.ID)
		return host.LeaseReply{First: []uint16{8080}}, nil
	case req.Release != nil:
		k.held = slices.DeleteFunc(k.held, func(id string) bool { return id == req.Release.ID })
		return host.LeaseReply{Released: true}, nil
	}
	var all []host.Lease
	for _, id := range k.held {
		all = append(all, host.Lease{Protocol: port.TCP, Port: 8080, ID: id})
	}
	return host.LeaseReply{Leases: all}, nil
}

// TestLeasesOverAConnection checks that leases are as they would be without the
// connection, and that those which are not confirmed end with it.
func TestLeasesOverAConnection(t *testing.T) {
	k := &keeping{}
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- Serve(t.Context(), k, far, far) }()
	r := NewHost(near, 1<<20)
	ask := func(req host.LeaseRequest) host.LeaseReply {
		t.Helper()
		reply, err := host.Hold(t.Context(), r, req)
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	start := func(id string) host.LeaseRequest {
		return host.LeaseRequest{Start: &lease.Request{ID: id, Wants: []lease.Want{{Protocols: []port.Protocol{port.TCP}, Ports: port.Set{port.One(8080)}, Length: 1}}}}
	}
	for _, id := range []string{"confirmed", "too"} {
		if reply := ask(start(id)); !slices.Equal(reply.First, []uint16{8080}) {
			t.Errorf("%+v", reply)
		}
	}
	ask(host.LeaseRequest{Confirm: true})
	ask(start("later"))
	ask(start("released"))
	if reply := ask(host.LeaseRequest{Release: &host.LeasePort{Protocol: port.TCP, Port: 8080, ID: "released"}}); !reply.Released {
		t.Errorf("%+v", reply)
	}
	ask(start("released")) // by another job, which is not the client's to end
	ask(host.LeaseRequest{Confirm: true})
	ask(start("lost"))
	if reply := ask(start("none")); reply.Unmet == nil || *reply.Unmet != 0 {
		t.Errorf("%+v", reply)
	}
	if _, err := host.Hold(t.Context(), r, start("broken")); err == nil || err.Error() != "no fork" {
		t.Error(err)
	}
	if reply := ask(host.LeaseRequest{List: host.AllLeases}); len(reply.Leases) != 5 {
		t.Errorf("%+v", reply)
	}
	if facts, err := r.Probe(t.Context(), host.Request{Dials: []host.Dial{{Host: "x"}}}); err != nil || facts.Machine.BootID != "x" {
		t.Errorf("a probe beside: %+v, %v", facts, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if want := []string{"confirmed", "too", "later", "released"}; !slices.Equal(k.held, want) {
		t.Errorf("%q are held, want %q", k.held, want)
	}
}

// TestHostWithoutLeases checks the error of a host that can't hold ports.
func TestHostWithoutLeases(t *testing.T) {
	r := connected(t, answering{})
	if _, err := host.Hold(t.Context(), r, host.LeaseRequest{List: host.AllLeases}); err == nil || err.Error() != "no port can be held there" {
		t.Error(err)
	}
}

// TestRepliesAboutOtherThings checks that facts are no answer about leases, nor the other
// way round.
func TestRepliesAboutOtherThings(t *testing.T) {
	for reply, hold := range map[string]bool{`"facts":{}`: true, `"held":{}`: false} {
		r := replying(t, 4096, func(id string) string { return fmt.Sprintf(`{"version":%d,"id":"%s",%s}`+"\n", Version, id, reply) })
		var err error
		if hold {
			_, err = host.Hold(t.Context(), r, host.LeaseRequest{Confirm: true})
		} else {
			_, err = r.Probe(t.Context(), host.Request{})
		}
		if err == nil || !strings.HasPrefix(err.Error(), "the probe's answer has no") {
			t.Errorf("%s: %v", reply, err)
		}
	}
}
