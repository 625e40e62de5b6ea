package transport

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
	"github.com/org/portcheck/transport/internal/engine"
)

// keepersOf makes an engine's keepers answer with a text, and returns where their requests
// arrive.
func (e *fakeEngine) keepersOf(t *testing.T, answer string) *lease.Request {
	asked := new(lease.Request)
	e.on["POST /containers/"+helperID+"/attach"] = func(w http.ResponseWriter, _ *http.Request) {
		e.mu.Lock()
		keeps := e.created[len(e.created)-1].Cmd[0] == "keep"
		e.mu.Unlock()
		if !keeps {
			e.attach(w)
			return
		}
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		if err := json.NewDecoder(buffered).Decode(asked); err != nil {
			t.Error(err)
		}
		if stderr, found := strings.CutPrefix(answer, "stderr: "); found {
			_, _ = io.WriteString(framed{conn, 2}, stderr)
			return
		}
		_, _ = io.WriteString(framed{conn, 1}, answer)
	}
	return asked
}

// keepOn opens a target, starts a keeper, confirms it if that is wanted, and closes the
// target.
func keepOn(t *testing.T, e *fakeEngine, target string, confirm bool, ports port.Set) (host.LeaseReply, error) {
	t.Helper()
	h, err := Open(t.Context(), target, e.options())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	want := lease.Want{Name: "web", Protocols: []port.Protocol{port.TCP}, Ports: ports, Length: 1, Guard: true}
	reply, err := host.Hold(t.Context(), h, host.LeaseRequest{Start: &lease.Request{ID: "abc", Job: "job", Expires: time.Unix(2000000000, 0), Wants: []lease.Want{want}}})
	if confirm && err == nil {
		_, err = host.Hold(t.Context(), h, host.LeaseRequest{Confirm: true})
		if err != nil && strings.Contains(err.Error(), "no port can be held there") { // the fake probe's
			err = nil
		}
	}
	return reply, err
}

// TestKeepersHaveNoRights checks what a keeper's container may do, and that its request
// arrives.
func TestKeepersHaveNoRights(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	runIn(t, selfID)
	for name, c := range map[string]struct {
		target string
		change func(*engine.Details) // the container that is the target
		ports  port.Set
		host   engine.HostConfig
	}{
		"runner":          {"runner", nil, port.Set{port.One(8080)}, engine.HostConfig{NetworkMode: "host"}},
		"container":       {"container:web", nil, port.Set{port.One(8080)}, engine.HostConfig{NetworkMode: "container:" + webID, PidMode: "container:" + webID}},
		"host's PIDs":     {"container:web", func(d *engine.Details) { d.HostConfig.PidMode = "host" }, port.Set{port.One(8080)}, engine.HostConfig{NetworkMode: "container:" + webID}},
		"another's PIDs":  {"container:web", func(d *engine.Details) { d.HostConfig.PidMode = "container:" + selfID }, port.Set{port.One(8080)}, engine.HostConfig{NetworkMode: "container:" + webID}},
		"privileged port": {"runner", nil, port.Set{port.One(8080), {First: 80, Last: 81}}, engine.HostConfig{NetworkMode: "host", CapAdd: []string{"NET_BIND_SERVICE"}}},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEngine(t)
			if c.change != nil {
				c.change(&e.details[1])
			}
			e.config.Env = []string{"SECRET=1"}
			asked := e.keepersOf(t, `{"first":[8080]}`)
			reply, err := keepOn(t, e, c.target, true, c.ports)
			if err != nil || !slices.Equal(reply.First, []uint16{8080}) || asked.ID != "abc" || asked.Wants[0].Ports.String() != c.ports.String() {
				t.Errorf("%+v, %v, asked %+v", reply, err, asked)
			}
			want := c.host
			want.UsernsMode = "host"
			want.CapDrop, want.SecurityOpt = []string{"ALL"}, []string{"no-new-privileges"}
			if want.CapAdd == nil {
				want.CapAdd = []string{}
			}
			want.ReadonlyRootfs, want.AutoRemove, want.LogConfig.Type = true, true, "none"
			want.Memory, want.MemorySwap, want.PidsLimit = keeperMemory, keeperMemory, pidsLimit
			got := e.created[len(e.created)-1]
			if diff := cmp.Diff(want, got.HostConfig); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(map[string]string{keeperLabel: "abc", deadlineLabel: "2000000000"}, got.Labels); diff != "" {
				t.Error(diff)
			}
			if !slices.Equal(got.Cmd, []string{"keep"}) || !slices.Equal(got.Entrypoint, []string{helperPath}) || !slices.Equal(got.Env, []string{"SECRET="}) || !got.StdinOnce {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestKeepersThatFail checks that a keeper which holds nothing, or which nobody has
// confirmed, is removed.
func TestKeepersThatFail(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	runIn(t, selfID)
	refuseKeepers := func(e *fakeEngine) {
		e.refuse = func(s engine.Spec) string { return map[bool]string{true: "no"}[s.Cmd[0] == "keep"] }
	}
	for name, c := range map[string]struct {
		answer  string
		change  func(*fakeEngine)
		removed int // containers, with that of the helper
		want    string
	}{
		"no port":         {`{"unmet":0}`, nil, 2, ""},
		"no confirmation": {`{"first":[8080]}`, nil, 2, ""},
		"an error":        {`{"error":"no memory"}`, nil, 2, "no memory"},
		"nothing":         {"", nil, 2, "the process that holds the ports has not answered: "},
		"garbage":         {"Permission denied", nil, 2, "the process that holds the ports has not answered: "},
		"too much":        {`{"error":"` + strings.Repeat("x", keeperReplyLimit), nil, 2, "the process that holds the ports has not answered: "},
		"stderr":          {"stderr: no such command", nil, 2, "stderr of the helper container: no such command"},
		"refused":         {"", refuseKeepers, 3, "a container to hold the ports can't be started: the engine refused: no"}, // with the container's PIDs and without
	} {
		t.Run(name, func(t *testing.T) {
			e := startEngine(t)
			e.keepersOf(t, c.answer)
			if c.change != nil {
				c.change(e)
			}
			_, err := keepOn(t, e, "container:web", false, port.Set{port.One(8080)})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			slices.Sort(e.removed)
			if len(slices.Compact(e.removed)) != c.removed {
				t.Errorf("%d containers are removed, want %d", len(slices.Compact(e.removed)), c.removed)
			}
		})
	}
}

// TestSweepLeavesKeepers checks that only a keeper which was never started is swept: one
// that runs ends by itself.
func TestSweepLeavesKeepers(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	runIn(t, selfID)
	e := startEngine(t)
	past := "1000000000"
	for name, status := range map[string]string{"portcheck-aaaaaaaaaaaa": "running", "portcheck-bbbbbbbbbbbb": "created"} {
		d := details(name, name, ourImage, "host")
		d.State.Status, d.Path, d.Args, d.HostConfig.AutoRemove = status, helperPath, []string{"keep"}, true
		d.Created = time.Now().Add(-time.Hour).Format(time.RFC3339Nano)
		e.details = append(e.details, d)
		e.list = append(e.list, engine.Container{ID: name, Names: []string{"/" + name}, Labels: map[string]string{deadlineLabel: past, keeperLabel: "abc"}})
	}
	if _, err := probe(t, "runner", e.options()); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(e.removed, "portcheck-aaaaaaaaaaaa") || !slices.Contains(e.removed, "portcheck-bbbbbbbbbbbb") {
		t.Errorf("removed %q", e.removed)
	}
}
