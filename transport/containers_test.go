package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
	"github.com/org/portcheck/transport/internal/engine"
)

const (
	webID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	dbID  = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
)

// answer is an engine's list of containers with a few of its fields.
const answer = `[
 {"Id":"` + webID + `","Names":["/other/alias","/shop-web-1"],"Image":"shop/web:1","State":"running",
  "Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web"},
  "Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
   {"PrivatePort":443,"Type":"tcp"},{"IP":"127.0.0.1","PrivatePort":53,"PublicPort":5353,"Type":"udp"}]},
 {"Id":"` + dbID + `","Names":["/db"],"Image":"postgres:18","Labels":null,
  "Ports":[{"IP":"127.0.0.2","PrivatePort":53,"PublicPort":5353,"Type":"udp"},{"IP":"::1","PrivatePort":1,"PublicPort":9090,"Type":"tcp"}]},
 {"Id":"short","Names":["/evil"],"Image":"x","Ports":[{"IP":"0.0.0.0","PublicPort":7070,"Type":"tcp"}]}
]`

// scripted is a host with fixed facts.
type scripted struct {
	facts   host.Facts
	sockets []host.Socket
	err     error
}

func (s scripted) Probe(context.Context, host.Request) (host.Facts, error) {
	facts := s.facts
	if s.sockets != nil {
		facts.Sockets = slices.Clone(s.sockets)
	}
	return facts, s.err
}

func (scripted) Close() error { return nil }

func listener(proto port.Protocol, at string, holders ...host.Holder) host.Socket {
	a := netip.MustParseAddrPort(at)
	return host.Socket{Endpoint: port.Endpoint{Protocol: proto, Addr: a.Addr(), Port: a.Port()}, State: host.Listen, Holders: holders}
}

var (
	proxy = host.Holder{PID: 7, Process: "docker-proxy", Executable: "/usr/bin/docker-proxy", File: host.FileRoots}
	fake  = host.Holder{PID: 8, Process: "docker-proxy", Executable: "/tmp/x", File: host.FileMachine}
)

// inside returns a process in a container of root's engine.
func inside(id string) host.Holder {
	return host.Holder{PID: 9, Executable: "/app", File: host.FileOther, Container: id, Vouched: []string{"unit", host.FactContainer}}
}

func TestNameHolders(t *testing.T) {
	containers := parse(t, answer)
	daemon := host.Holder{PID: 6, Executable: "/usr/bin/dockerd", File: host.FileRoots}
	rootless := host.Holder{PID: 5, Executable: "/usr/lib/podman/rootlessport", File: host.FileRoots, UID: os.Geteuid()} // as the engine's socket
	nested := proxy
	nested.Container = strings.Repeat("0", 64) // of the container in which the engine runs
	as := func(h host.Holder, change func(*host.Holder)) host.Holder { change(&h); return h }
	claimed := host.Holder{PID: 9, Executable: "/app", Container: dbID, Parents: []int{4, 1}} // in a cgroup that a user has named
	first := func(id string) int { return map[string]int{dbID: 3, webID: 5}[id] }
	for name, c := range map[string]struct {
		socket host.Socket
		want   string // "ID name image compose", or the fields in Unseen
	}{
		"by ID":                                 {listener(port.TCP, "0.0.0.0:80", inside(dbID)), dbID + " db postgres:18 "},
		"by ID, with a compose service":         {listener(port.TCP, "0.0.0.0:80", inside(webID)), webID + " shop-web-1 shop/web:1 shop/web"},
		"by another ID":                         {listener(port.TCP, "0.0.0.0:80", inside(strings.Repeat("0", 64))), host.ContainerName},
		"published on IPv4":                     {listener(port.TCP, "0.0.0.0:8080", proxy), webID + " shop-web-1 shop/web:1 shop/web"},
		"published on IPv6":                     {listener(port.TCP, "[::]:8080", proxy), webID + " shop-web-1 shop/web:1 shop/web"},
		"published on one address":              {listener(port.UDP, "127.0.0.2:5353", proxy), dbID + " db postgres:18 "},
		"published on ::1":                      {listener(port.TCP, "[::1]:9090", proxy), dbID + " db postgres:18 "},
		"one of two could be meant":             {listener(port.UDP, "0.0.0.0:5353", proxy), host.ContainerName},
		"published on another address":          {listener(port.UDP, "127.0.0.3:5353", proxy), host.ContainerName},
		"published with another protocol":       {listener(port.UDP, "0.0.0.0:8080", proxy), host.ContainerName},
		"published by a container without ID":   {listener(port.TCP, "0.0.0.0:7070", proxy), host.ContainerName},
		"held by the engine itself":             {listener(port.TCP, "0.0.0.0:8080", daemon), webID + " shop-web-1 shop/web:1 shop/web"},
		"the engine's own":                      {listener(port.TCP, "0.0.0.0:2375", daemon), ""},
		"another engine's":                      {listener(port.TCP, "0.0.0.0:2375", as(daemon, func(h *host.Holder) { h.PID = 60 })), host.ContainerName},
		"held by rootlessport":                  {listener(port.TCP, "0.0.0.0:8080", rootless), webID + " shop-web-1 shop/web:1 shop/web"},
		"an engine in a container":              {listener(port.TCP, "0.0.0.0:8080", nested), webID + " shop-web-1 shop/web:1 shop/web"},
		"held by conmon":                        {listener(port.TCP, "0.0.0.0:8080", as(proxy, func(h *host.Holder) { h.Executable = "/usr/bin/conmon" })), webID + " shop-web-1 shop/web:1 shop/web"},
		"a process that calls itself a proxy":   {listener(port.TCP, "0.0.0.0:8080", fake), ""},
		"a file of that name":                   {listener(port.TCP, "0.0.0.0:8080", as(proxy, func(h *host.Holder) { h.File = host.FileMachine })), ""},
		"a file of that name elsewhere":         {listener(port.TCP, "0.0.0.0:8080", as(proxy, func(h *host.Holder) { h.File = host.FileOther })), ""},
		"a file that can't be compared":         {listener(port.TCP, "0.0.0.0:8080", as(proxy, func(h *host.Holder) { h.File = "" })), host.ContainerName},
		"a proxy that a user runs":              {listener(port.TCP, "0.0.0.0:8080", as(proxy, func(h *host.Holder) { h.UID = 1000 })), ""},
		"a user's cgroup":                       {listener(port.TCP, "0.0.0.0:80", claimed), host.ContainerName},
		"of another container's first process":  {listener(port.TCP, "0.0.0.0:80", as(claimed, func(h *host.Holder) { h.PID = 5 })), host.ContainerName},
		"the container's first process":         {listener(port.TCP, "0.0.0.0:80", as(claimed, func(h *host.Holder) { h.PID = 3 })), dbID + " db postgres:18 "},
		"a child of it":                         {listener(port.TCP, "0.0.0.0:80", as(claimed, func(h *host.Holder) { h.Parents = []int{4, 3, 1} })), dbID + " db postgres:18 "},
		"first process of an unknown container": {listener(port.TCP, "0.0.0.0:80", as(claimed, func(h *host.Holder) { h.Container, h.PID = strings.Repeat("0", 64), 3 })), host.ContainerName},
		"a proxy that has lost its engine":      {listener(port.TCP, "0.0.0.0:7071", as(proxy, func(h *host.Holder) { h.LeftOver = true })), ""},
		"the same, of a container after all":    {listener(port.TCP, "0.0.0.0:8080", as(proxy, func(h *host.Holder) { h.LeftOver = true })), webID + " shop-web-1 shop/web:1 shop/web"},
		"no holder":                             {listener(port.TCP, "0.0.0.0:8080"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			shared := slices.Clone(c.socket.Holders)
			c.socket.Holders = shared
			sockets := []host.Socket{c.socket}
			complete := nameHolders(sockets, engineAnswer{containers, nil, first, func(pid int) bool { return pid == daemon.PID }})
			got := ""
			for _, h := range sockets[0].Holders {
				got = strings.Join(h.Unseen, " ")
				if h.ContainerInfo != nil {
					if !slices.Contains(h.Vouched, host.FactContainer) {
						t.Error("named, but not vouched for")
					}
					got = strings.Join([]string{h.Container, h.ContainerInfo.Name, h.ContainerInfo.Image, h.ContainerInfo.Compose}, " ")
				}
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if complete != (c.want != host.ContainerName) {
				t.Errorf("complete: %v", complete)
			}
			for _, h := range shared {
				if h.ContainerInfo != nil || len(h.Unseen) > 0 {
					t.Error("the probe's own holder was changed")
				}
			}
		})
	}
}

// The label of a container with its unit counts only if the holder, or the container's
// conmon, runs in that unit: an image can have the label, too.
func TestUnitOfAContainer(t *testing.T) {
	// The places are those of Podman 5.4 on Debian 13.
	for name, c := range map[string]struct{ engine, label, unit, monitor, want string }{
		"Quadlet without root":          {"podman", "qweb.service", "user@1000.service/qweb.service", "", "user@1000.service/qweb.service"},
		"Quadlet":                       {"podman", "rq.service", "rq.service", "", "rq.service"},
		"conmon in the unit":            {"podman", "container-rg.service", "", "container-rg.service", "container-rg.service"},
		"the same without root":         {"podman", "gweb.service", "user@1000.service/libpod-0.scope", "user@1000.service/gweb.service", "user@1000.service/gweb.service"},
		"started by hand":               {"podman", "", "user@1000.service/podman-614.scope", "", ""},
		"by hand, in a unit":            {"podman", "", "shell.service", "", ""},
		"an image with a unit's label":  {"podman", "sshd.service", "podman-614.scope", "libpod-conmon-0.scope", ""},
		"an image with half of a path":  {"podman", "user@1000.service/qweb.service", "user@1000.service/qweb.service", "", ""},
		"another engine with the label": {"docker", "rq.service", "rq.service", "", ""},
	} {
		all := namingHost{}.containers([]engine.Container{{ID: dbID, Names: []string{"/db"}, Labels: map[string]string{"PODMAN_SYSTEMD_UNIT": c.label}}}, true, 0)
		all[0].info.Engine = c.engine
		sockets := []host.Socket{listener(port.TCP, "0.0.0.0:80", host.Holder{PID: 1, Container: dbID, Vouched: []string{host.FactContainer}, Unit: c.unit, MonitorUnit: c.monitor})}
		nameHolders(sockets, engineAnswer{containers: all})
		if got := sockets[0].Holders[0].ContainerInfo; got == nil || got.Unit != c.want || got.Name != "db" {
			t.Errorf("%s: %+v, want unit %q", name, got, c.want)
		}
		if all[0].info.Unit != "" {
			t.Errorf("%s: the container itself was changed", name)
		}
	}
}

// Of several containers that publish a port, as those of a pod do, the forwarder's conmon
// says which one it serves.
func TestContainerOfAConmon(t *testing.T) {
	published := []engine.Port{{IP: "0.0.0.0", PublicPort: 8080, Type: "tcp"}}
	for name, c := range map[string]struct {
		ids  []string // that the engine lists
		user int
		want string
	}{
		"listed":               {[]string{webID, dbID}, 1000, "infra trial:1"},
		"not listed":           {[]string{webID}, 1000, "infra "},
		"listed for another":   {[]string{webID, dbID}, 1001, "infra "},
		"nothing is listed":    {nil, 1000, "infra "},
		"the only one of them": {[]string{dbID}, 1000, "infra trial:1"},
	} {
		var entries []engine.Container
		for _, id := range c.ids {
			entries = append(entries, engine.Container{ID: id, Names: []string{"/infra"}, Image: "trial:1", Ports: published})
		}
		all := namingHost{}.containers(entries, true, c.user)
		for i := range all {
			all[i].info.Engine, all[i].forwarded = "podman", true
		}
		h := host.Holder{PID: 5, Executable: "/usr/bin/pasta", File: host.FileRoots, UID: 1000, Container: dbID, Vouched: []string{host.FactContainer}, Engine: "podman"}
		h.ContainerInfo = &host.ContainerInfo{Name: "infra", Engine: "podman", NameOnly: true}
		sockets := []host.Socket{listener(port.TCP, "0.0.0.0:8080", h)}
		complete := nameHolders(sockets, engineAnswer{containers: all})
		got := sockets[0].Holders[0]
		if text := got.ContainerInfo.Name + " " + got.ContainerInfo.Image; text != c.want || got.Container != dbID || !complete {
			t.Errorf("%s: %q of container %.4s, complete %t, want %q", name, text, got.Container, complete, c.want)
		}
	}
}

// A container of another engine that has a port of this number is not the one that the
// forwarder serves.
func TestForwarderOfAnotherEngine(t *testing.T) {
	user := host.Holder{PID: 5, Executable: "/usr/bin/rootlesskit", File: host.FileRoots, UID: 1000}
	for _, c := range []struct {
		holder host.Holder
		engine string
		user   int
		want   bool
	}{
		{proxy, "docker", 0, true},
		{proxy, "", 0, true},
		{proxy, "podman", 0, false},
		{proxy, "docker", 1000, false},
		{user, "docker", 1000, true},
		{user, "docker", 1001, false},
		{user, "docker", 0, false},
	} {
		all := parse(t, answer)
		for i := range all {
			all[i].info.Engine, all[i].user = c.engine, c.user
		}
		sockets := []host.Socket{listener(port.TCP, "0.0.0.0:8080", c.holder)}
		if complete := nameHolders(sockets, engineAnswer{all, nil, func(string) int { return 0 }, func(int) bool { return false }}); complete != c.want || (sockets[0].Holders[0].ContainerInfo != nil) != c.want {
			t.Errorf("%s of uid %d, %s of uid %d: named %v", c.holder.Executable, c.holder.UID, c.engine, c.user, complete)
		}
	}
}

// What a user's engine lists is believed about that user's forwarders alone.
func TestEnginesOfUsers(t *testing.T) {
	user := host.Holder{PID: 5, Executable: "/usr/bin/rootlesskit", File: host.FileRoots, UID: 1000}
	lies := parse(t, answer)
	for i := range lies {
		lies[i].user, lies[i].forwarded, lies[i].info.Name = 1000, true, "lie"
	}
	for name, c := range map[string]struct {
		holder host.Holder
		roots  bool // root's engine answers, too
		want   string
	}{
		"the user's forwarder":                  {user, false, "lie"},
		"the same beside root's engine":         {user, true, "lie"},
		"another user's forwarder":              {host.Holder{PID: 5, Executable: "/usr/bin/rootlesskit", File: host.FileRoots, UID: 1001}, false, ""},
		"root's forwarder":                      {proxy, false, ""},
		"root's forwarder beside root's engine": {proxy, true, "shop-web-1"},
		"root's container":                      {inside(webID), false, ""},
		"root's container beside root's engine": {inside(webID), true, "shop-web-1"},
	} {
		all := slices.Clone(lies)
		if c.roots {
			all = append(all, parse(t, answer)...)
		}
		sockets := []host.Socket{listener(port.TCP, "0.0.0.0:8080", c.holder)}
		nameHolders(sockets, engineAnswer{all, nil, func(string) int { return 0 }, func(int) bool { return false }})
		got := ""
		if info := sockets[0].Holders[0].ContainerInfo; info != nil {
			got = info.Name
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A proxy that has lost its engine may serve a container until an engine says that it
// does not, or none is there.
func TestLeftOverNeedsAnAnswer(t *testing.T) {
	for errno, want := range map[string]bool{"ENOENT": true, "ECONNREFUSED": true, "timeout": false, "": false} {
		orphan := proxy
		orphan.LeftOver = true
		sockets := []host.Socket{listener(port.TCP, "0.0.0.0:8080", orphan)}
		complete := nameHolders(sockets, engineAnswer{gap: &host.Gap{Errno: errno}})
		if got := sockets[0].Holders[0]; got.LeftOver != want || complete != want || slices.Contains(got.Unseen, host.ContainerName) == want {
			t.Errorf("%q: left over %t, complete %t, unseen %q, want %t", errno, got.LeftOver, complete, got.Unseen, want)
		}
	}
}

// parse returns the containers of an engine's list, as a probe reads it.
func parse(t *testing.T, text string) []container {
	t.Helper()
	env, _ := serve(t, write(text))
	all, gap := withEngine(scripted{}, Options{Env: env}).list(t.Context())
	if gap != nil || all == nil {
		t.Fatalf("%v, gap %v", all, gap)
	}
	return all
}

func TestInvalidNames(t *testing.T) {
	long := strings.Repeat("x", 513)
	all := parse(t, fmt.Sprintf(`[{"Id":%q,"Names":["/a"],"Image":%q,"Labels":{"com.docker.compose.project":%q,"com.docker.compose.service":"web"}}]`, webID, long, long))
	if len(all) != 1 || all[0].info != (host.ContainerInfo{Name: "a"}) {
		t.Errorf("%v", all)
	}
	longest := strings.Repeat("x", 512)
	all = parse(t, fmt.Sprintf(`[{"Id":%q,"Names":["/a"],"Image":%q}]`, webID, longest))
	if len(all) != 1 || all[0].info != (host.ContainerInfo{Name: "a", Image: longest}) {
		t.Errorf("%v", all)
	}
	for _, id := range []string{"", "abc", webID[1:], webID + "0", strings.ToUpper(webID), webID[1:] + "g"} {
		if all := parse(t, fmt.Sprintf(`[{"Id":%q,"Names":["/a"]}]`, id)); len(all) != 0 {
			t.Errorf("%q: %v", id, all)
		}
	}
	if all := parse(t, "null"); len(all) != 0 {
		t.Errorf("null: %v", all)
	}
}

// The published ports of an engine on another machine are not this machine's.
func TestEngineElsewherePublishesNothingHere(t *testing.T) {
	entries := []engine.Container{{ID: webID, Names: []string{"/web"}, Ports: []engine.Port{{PublicPort: 8080, Type: "tcp"}}}}
	for local, want := range map[bool]int{true: 1, false: 0} {
		if got := (namingHost{}).containers(entries, local, 0); len(got[0].published) != want {
			t.Errorf("local %v: %v", local, got)
		}
	}
}

// play serves an engine's answers on a unix socket.
func play(t *testing.T, answer http.HandlerFunc) (env map[string]string) {
	t.Helper()
	l := testbed.ListenUnix(t)
	server := &http.Server{Handler: answer}
	go func() { _ = server.Serve(l) }()      // ends with Close
	t.Cleanup(func() { _ = server.Close() }) // closes its socket
	return map[string]string{"DOCKER_HOST": "unix://" + l.Addr().String()}
}

// serve serves the answer to the request for containers, and counts the requests.
func serve(t *testing.T, answer http.HandlerFunc) (env map[string]string, asked *int) {
	t.Helper()
	asked = new(int)
	return play(t, func(w http.ResponseWriter, r *http.Request) {
		*asked++
		if r.Method != http.MethodGet || r.URL.String() != "/containers/json" {
			t.Errorf("request %s %s", r.Method, r.URL)
		}
		answer(w, r)
	}), asked
}

func write(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func TestEngine(t *testing.T) {
	held := []host.Socket{listener(port.TCP, "0.0.0.0:8080", proxy), listener(port.TCP, "[::]:8080", proxy), listener(port.TCP, "0.0.0.0:80", inside(dbID))}
	env, asked := serve(t, write(answer))
	facts, err := withEngine(scripted{sockets: held}, Options{Env: env, Job: Job{Services: map[string]string{dbID: "postgres"}}}).Probe(t.Context(), host.Request{})
	if err != nil || len(facts.Gaps) > 0 || *asked != 1 {
		t.Fatalf("%v, gaps %v, asked %d times", err, facts.Gaps, *asked)
	}
	for i, want := range []string{"shop-web-1", "shop-web-1", "db"} {
		if container := facts.Sockets[i].Holders[0].ContainerInfo; container == nil || container.Name != want {
			t.Errorf("%s: %v, want %s", facts.Sockets[i].Endpoint, container, want)
		} else if (container.Service == "postgres") != (want == "db") {
			t.Errorf("%s is the job's service %q", want, container.Service)
		}
	}
	// Without a container among the holders there is no request.
	other := []host.Socket{listener(port.TCP, "0.0.0.0:8080", fake), listener(port.TCP, "0.0.0.0:1")}
	for _, h := range []host.Host{scripted{sockets: other}, scripted{sockets: held, err: errors.New("broken")}} {
		facts, _ = withEngine(h, Options{Env: env}).Probe(t.Context(), host.Request{})
		if *asked != 1 || len(facts.Gaps) > 0 {
			t.Errorf("asked %d times, gaps %v", *asked, facts.Gaps)
		}
	}
	// A container that the engine does not list is a gap.
	facts, _ = withEngine(scripted{sockets: []host.Socket{listener(port.TCP, "0.0.0.0:1", proxy)}}, Options{Env: env}).Probe(t.Context(), host.Request{})
	if len(facts.Gaps) != 1 || !strings.Contains(facts.Gaps[0].What, "does not list every container") {
		t.Errorf("gaps %v", facts.Gaps)
	}
}

// A container that a user's cgroup names counts if the engine has its first process
// among the holder and its ancestors, where both number processes alike.
func TestEngineConfirms(t *testing.T) {
	env := play(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/containers/json":
			write(answer)(w, r)
		case "/containers/" + dbID + "/json":
			fmt.Fprintf(w, `{"Id":%q,"State":{"Running":true,"Pid":3}}`, dbID)
		default:
			http.Error(w, `{"message":"no such container"}`, http.StatusNotFound)
		}
	})
	for _, c := range []struct {
		pid          int
		id           string
		allProcesses bool
		want         bool
	}{{3, dbID, true, true}, {4, dbID, true, false}, {3, dbID, false, false}, {0, webID, true, false}} {
		h := scripted{sockets: []host.Socket{listener(port.TCP, "0.0.0.0:80", host.Holder{PID: c.pid, Container: c.id})}}
		h.facts.Machine.Namespace.AllProcesses = c.allProcesses
		facts, err := withEngine(h, Options{Env: env}).Probe(t.Context(), host.Request{})
		if err != nil {
			t.Fatal(err)
		}
		if got := facts.Sockets[0].Holders[0].ContainerInfo != nil; got != c.want || got == (len(facts.Gaps) == 1) {
			t.Errorf("%+v: %t, gaps %v", c, got, facts.Gaps)
		}
	}
}

// A failure of the engine is a gap with operation and reason. It does not fail
// the probe, and does not take longer than the timeout.
func TestEngineFails(t *testing.T) {
	if runtime.GOOS != "linux" {
		testbed.Missing(t, "the texts and numbers of errors are those of Linux")
	}
	dir := t.TempDir()
	at := func(address string) func(*testing.T) map[string]string {
		return func(*testing.T) map[string]string { return map[string]string{"DOCKER_HOST": address} }
	}
	by := func(answer http.HandlerFunc) func(*testing.T) map[string]string {
		return func(t *testing.T) map[string]string { env, _ := serve(t, answer); return env }
	}
	for name, c := range map[string]struct {
		env       func(*testing.T) map[string]string
		what      string
		op, errno string
	}{
		"no socket":   {at("unix://" + dir + "/none"), dir + "/none can't be queried", "connect", "ENOENT"},
		"a directory": {at("unix://" + dir), "it is a directory", "connect", "ECONNREFUSED"},
		"ssh":         {at("ssh://user:secret@10.0.0.1"), "DOCKER_HOST is a ssh:// address", "", ""},
		"tcp":         {at("tcp://user:secret@127.0.0.1:1"), "tcp://127.0.0.1:1 can't be queried", "connect", "ECONNREFUSED"},
		"hanging": {by(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}), "can't be queried", "GET /containers/json", "no answer in time"},
		"hanging in the middle": {by(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "[")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}), "can't be queried", "GET /containers/json", "no answer in time"},
		"too large": {by(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "["+strings.Repeat(" ", 8<<20)+"]")
		}), "can't be queried", "GET /containers/json", "its answer is larger than 8 MB"},
		"endless": {by(func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}), "can't be queried", "GET /containers/json", "its answer is larger than 8 MB"},
		"bad JSON": {by(write("[{")), "can't be queried", "GET /containers/json", "its answer is not that of a container engine"},
		"status 500": {by(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"message":"::error::evil"}`, http.StatusInternalServerError)
		}), "can't be queried: the engine refused: ::error::evil", "", ""},
		"a redirect": {by(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}), "can't be queried: the engine answered GET /containers/json with HTTP status 302", "", ""},
		"it hangs up": {by(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "can't be queried", "GET /containers/json", "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			h := withEngine(scripted{sockets: []host.Socket{
				listener(port.TCP, "0.0.0.0:8080", proxy), listener(port.TCP, "0.0.0.0:80", inside(dbID)), listener(port.TCP, "0.0.0.0:81", fake),
			}}, Options{Env: c.env(t)})
			h.timeout = 200 * time.Millisecond
			if name == "too large" || name == "endless" {
				h.timeout = namingTimeout
			}
			start := time.Now()
			facts, err := h.Probe(t.Context(), host.Request{})
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > namingTimeout+time.Second {
				t.Errorf("took %s", took)
			}
			if len(facts.Gaps) != 1 {
				t.Fatalf("gaps %v", facts.Gaps)
			}
			g := facts.Gaps[0]
			if g.Kind != host.GapContainers || !strings.Contains(g.What, c.what) || g.Op != c.op || g.Errno != c.errno || strings.Contains(g.What, "secret") {
				t.Errorf("gap %+v", g)
			}
			for i, want := range []bool{true, true, false} {
				if got := slices.Contains(facts.Sockets[i].Holders[0].Unseen, host.ContainerName); got != want {
					t.Errorf("%s: unseen %v", facts.Sockets[i].Endpoint, facts.Sockets[i].Holders[0].Unseen)
				}
			}
		})
	}
}

// The address of the socket itself decides between containers that publish the
// same port.
func TestPublisher(t *testing.T) {
	publishes := func(at string) container {
		return container{published: []port.Endpoint{listener(port.TCP, at).Endpoint}}
	}
	for _, c := range []struct {
		published []string
		socket    string
		want      int
	}{
		{[]string{"0.0.0.0:80"}, "127.0.0.5:80", 0},
		{[]string{"0.0.0.0:80", "127.0.0.2:80"}, "127.0.0.2:80", 1},
		{[]string{"127.0.0.2:80", "0.0.0.0:80"}, "127.0.0.2:80", 0},
		{[]string{"127.0.0.2:80", "127.0.0.3:80"}, "0.0.0.0:80", -1},
		{[]string{"127.0.0.2:80", "127.0.0.2:80"}, "127.0.0.2:80", -1},
		{[]string{"127.0.0.2:81"}, "127.0.0.2:80", -1},
		{nil, "127.0.0.2:80", -1},
	} {
		var all []container
		for _, at := range c.published {
			all = append(all, publishes(at))
		}
		if got := publisher(all, listener(port.TCP, c.socket).Endpoint, func(container) bool { return true }); got != c.want {
			t.Errorf("%s of %q: %d, want %d", c.socket, c.published, got, c.want)
		}
	}
}
