package transport

import (
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

func asksCallers(p uint16) host.Request {
	return host.Request{Tries: []host.Try{{Binding: port.Binding{Protocol: port.TCP, Addresses: []port.Address{port.Any}}, Ports: port.One(p), Callers: true}}}
}

// The engine beside a probe is asked once, for allocations and for names.
func TestAllocated(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	env, asked := serve(t, write(strings.Replace(answer, `"Labels":null,`, `"NetworkSettings":{"Networks":{"shop":{"IPAddress":"172.18.0.5","GlobalIPv6Address":"fd00::5"}}},`, 1)))
	h := withEngine(host.Local{}, Options{Env: env})
	facts, err := h.Probe(t.Context(), asksCallers(8080))
	if err != nil || *asked != 1 || len(facts.Allocated) != 2 || len(facts.Gaps) > 0 {
		t.Fatalf("%v, asked %d times: %+v, gaps %v", err, *asked, facts.Allocated, facts.Gaps)
	}
	for i, want := range []string{"0.0.0.0", "::"} {
		if a := facts.Allocated[i]; a.Addr.String() != want || a.Container != webID || a.ContainerInfo.Name != "shop-web-1" {
			t.Errorf("%+v, want %s", a, want)
		}
	}
	if facts, err = h.Probe(t.Context(), asksCallers(8081)); err != nil || len(facts.Allocated) > 0 || *asked != 2 {
		t.Errorf("%v, asked %d times: %+v", err, *asked, facts.Allocated)
	}
	// A host can't allocate for an engine.
	foreign := scripted{facts: host.Facts{Allocated: facts.Allocated, Tried: []host.Tried{{Routes: []host.Route{{Port: 8080, To: []host.Destination{
		{Addr: netip.MustParseAddr("172.18.0.5"), Port: 80}, {Addr: netip.MustParseAddr("fd00::5"), Port: 80}, {Addr: netip.MustParseAddr("172.18.0.6"), Port: 80}, {Port: 80},
	}}}}}}}
	foreign.facts.Allocated = []host.Allocation{{Endpoint: port.Endpoint{Protocol: port.TCP, Addr: netip.IPv4Unspecified(), Port: 1}}}
	facts, err = withEngine(foreign, Options{Env: env}).Probe(t.Context(), asksCallers(1))
	if err != nil || len(facts.Allocated) > 0 || *asked != 3 {
		t.Errorf("%v, asked %d times: %+v", err, *asked, facts.Allocated)
	}
	for i, want := range []string{dbID, dbID, "", ""} {
		if to := facts.Tried[0].Routes[0].To[i]; to.Container != want || (to.ContainerInfo != nil) != (want != "") {
			t.Errorf("%+v, want container %q", to, want)
		}
	}
	// Nothing that is about callers is asked.
	if _, err = h.Probe(t.Context(), host.Request{}); err != nil || *asked != 3 {
		t.Errorf("%v, asked %d times", err, *asked)
	}
}

// An engine of another network namespace has allocated nothing here.
func TestAllocatedElsewhere(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	path := t.TempDir() + "/docker.sock"
	testbed.StartWith(t, func(c *exec.Cmd) { c.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET }, "/usr/bin/python3", "-u", "-c", `
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
print("ready")
time.sleep(1000)`, path)
	facts, err := withEngine(host.Local{}, Options{Env: map[string]string{"DOCKER_HOST": "unix://" + path}}).Probe(t.Context(), asksCallers(8080))
	if err != nil || len(facts.Allocated)+len(facts.Gaps) > 0 {
		t.Errorf("%v: %+v, gaps %v", err, facts.Allocated, facts.Gaps)
	}
}

// An engine that is late, or that refuses, is one gap.
func TestAllocatedUnknown(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	for want, answer := range map[string]http.HandlerFunc{
		"within 300ms": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"the engine refused: never": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"message":"never"}`, http.StatusForbidden)
		},
	} {
		env, _ := serve(t, answer)
		facts, err := withEngine(host.Local{}, Options{Env: env}).Probe(t.Context(), asksCallers(8080))
		if err != nil || len(facts.Gaps) != 1 || facts.Gaps[0].Kind != host.GapAllocated || !strings.Contains(facts.Gaps[0].What, want) {
			t.Errorf("%v: gaps %v, want %q", err, facts.Gaps, want)
		}
	}
}
