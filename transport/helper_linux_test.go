package transport

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"encoding/base64"
	endian "encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/wire"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/transport/internal/engine"
)

const (
	selfID    = "aaaabbbbccccddddaaaabbbbccccddddaaaabbbbccccddddaaaabbbbccccdddd"
	ourImage  = "sha256:portcheck"
	oldImage  = "sha256:older"
	someImage = "sha256:else"
	helperID  = "helper"
)

// fakeEngine is an engine with a few containers. Its helpers answer with facts.
type fakeEngine struct {
	details []engine.Details
	labels  map[string]string // the value of imageLabel, by image
	list    []engine.Container
	info    string
	config  engine.ImageConfig // of each image, beside the label
	archive archive            // of a helper
	facts   host.Facts
	stderr  string                      // of a helper, which then ends
	refuse  func(engine.Spec) string    // the reason, "" for none
	on      map[string]http.HandlerFunc // by "METHOD path", in place of the answer below
	env     map[string]string           // with the engine's address

	mu      sync.Mutex
	created []engine.Spec
	name    string
	started bool
	removed []string
}

// archive is what an engine shows of a helper's files. By default it is what is in
// an image of ours.
type archive struct {
	links   map[string]string      // by path
	missing string                 // a path
	content func(io.Writer) error  // of the executable
	size    int64                  // of the executable, as the engine describes it
	header  func(*tar.Header) bool // changes it, and reports whether content follows
}

// startEngine starts an engine with a container of portcheck's image, in which this
// process seems to run, and a container named web.
func startEngine(t *testing.T) *fakeEngine {
	t.Helper()
	e := &fakeEngine{labels: map[string]string{ourImage: strconv.Itoa(wire.Version), oldImage: "1"}, info: `{}`, on: map[string]http.HandlerFunc{}}
	e.details = []engine.Details{details(selfID, "portcheck", ourImage, "bridge"), details(webID, "web", someImage, "bridge")}
	e.env = play(t, e.serve)
	return e
}

func details(id, name, image, network string) (d engine.Details) {
	d.ID, d.Name, d.Image = id, "/"+name, image
	d.State.Running, d.State.Status = true, "running"
	d.Config.Image = name + ":1"
	d.HostConfig.NetworkMode = network
	return d
}

func (e *fakeEngine) serve(w http.ResponseWriter, r *http.Request) {
	answer := e.on[r.Method+" "+r.URL.Path]
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case answer != nil:
		answer(w, r)
	case r.URL.Path == "/info":
		write(e.info)(w, r)
	case r.URL.Path == "/containers/json":
		_ = json.NewEncoder(w).Encode(e.list)
	case r.URL.Path == "/containers/create":
		e.create(w, r)
	case len(parts) == 3 && parts[0] == "containers" && parts[2] == "json":
		for _, d := range e.details {
			if d.ID == parts[1] || d.Name == "/"+parts[1] {
				_ = json.NewEncoder(w).Encode(d)
				return
			}
		}
		http.Error(w, `{"message":"no such container"}`, http.StatusNotFound)
	case len(parts) == 3 && parts[0] == "images":
		config := e.config
		config.Labels = map[string]string{imageLabel: e.labels[parts[1]]}
		_ = json.NewEncoder(w).Encode(map[string]any{"Config": config})
	case r.URL.Path == "/containers/"+helperID+"/archive":
		e.archive.serve(w, r)
	case r.URL.Path == "/containers/"+helperID+"/start":
		e.mu.Lock()
		defer e.mu.Unlock()
		e.started = true
	case r.URL.Path == "/containers/"+helperID+"/attach":
		e.attach(w)
	case r.Method == http.MethodDelete:
		e.mu.Lock()
		defer e.mu.Unlock()
		e.removed = append(e.removed, parts[1])
	}
}

func (e *fakeEngine) create(w http.ResponseWriter, r *http.Request) {
	var spec engine.Spec
	if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	e.created = append(e.created, spec)
	e.name = r.URL.Query().Get("name")
	e.mu.Unlock()
	if e.refuse != nil {
		if reason := e.refuse(spec); reason != "" {
			http.Error(w, `{"message":"`+reason+`"}`, http.StatusForbidden)
			return
		}
	}
	write(`{"Id":"`+helperID+`"}`)(w, r)
}

func (a archive) serve(w http.ResponseWriter, r *http.Request) {
	own, err := os.Open(staticSelf())
	if err != nil {
		panic(err)
	}
	defer own.Close()
	info, err := own.Stat()
	if err != nil {
		panic(err)
	}
	size := cmp.Or(a.size, info.Size())
	name := r.URL.Query().Get("path")
	mode := fs.ModeDir | 0o755
	if name == helperPath {
		mode = 0o755
	}
	if a.links[name] != "" && a.links[name] != name {
		mode = fs.ModeSymlink | 0o777
	}
	if name == a.missing {
		http.Error(w, `{"message":"no such file"}`, http.StatusNotFound)
		return
	}
	stat, err := json.Marshal(map[string]any{"name": path.Base(name), "size": size, "mode": mode, "linkTarget": a.links[name]})
	if err != nil {
		panic(err)
	}
	w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(stat))
	if r.Method == http.MethodHead {
		return
	}
	files := tar.NewWriter(w)
	header := &tar.Header{Name: path.Base(name), Typeflag: tar.TypeReg, Mode: 0o755, Size: size}
	if mode.Type() == fs.ModeSymlink {
		*header = tar.Header{Name: path.Base(name), Typeflag: tar.TypeSymlink, Linkname: a.links[name]}
	}
	follows := a.header == nil || a.header(header)
	_ = files.WriteHeader(header) // the client may hang up at any time
	switch {
	case !follows || mode.Type() == fs.ModeSymlink:
	case a.content != nil:
		_ = a.content(files)
	default:
		_, _ = io.Copy(files, own)
	}
	_ = files.Flush()
}

// framed writes to stdout or stderr of a container's stream.
type framed struct {
	w    io.Writer
	kind byte
}

func (f framed) Write(p []byte) (int, error) {
	n := len(p)
	_, err := f.w.Write(append([]byte{f.kind, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, p...))
	return len(p), err
}

func (e *fakeEngine) attach(w http.ResponseWriter) {
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	if e.stderr != "" {
		_, _ = io.WriteString(framed{conn, 2}, e.stderr)
		_, _ = buffered.ReadString('\n') // the request
		return
	}
	_ = wire.Serve(context.Background(), scripted{facts: e.facts}, buffered, framed{conn, 1}) // ends with the connection
}

func (e *fakeEngine) fail(status int, message string, requests ...string) {
	for _, r := range requests {
		e.on[r] = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"message":"`+message+`"}`, status) }
	}
}

func (e *fakeEngine) checkRemoved(t *testing.T) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.name == "" || !slices.Contains(e.removed, e.name) {
		t.Errorf("helper %q: removed %q", e.name, e.removed)
	}
}

func (e *fakeEngine) options() Options {
	return Options{Env: e.env, Evidence: Full, Lifetime: time.Minute, Executable: staticSelf()}
}

// staticSelf returns the path of a copy of this executable of the tests that needs no
// loader, as portcheck needs none. Nothing executes it.
var staticSelf = sync.OnceValue(func() string {
	code, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	file, err := elf.NewFile(bytes.NewReader(code))
	if err != nil {
		panic(err)
	}
	for i, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			setSegment(code, i, elf.PT_NULL)
		}
	}
	return memoryFile(code)
})

// setSegment sets the type of a segment of an executable for this machine (elf(5)).
func setSegment(code []byte, i int, kind elf.ProgType) {
	order := endian.NativeEndian
	table, size := uint64(order.Uint32(code[0x1c:])), order.Uint16(code[0x2a:]) // e_phoff, e_phentsize
	if elf.Class(code[elf.EI_CLASS]) == elf.ELFCLASS64 {
		table, size = order.Uint64(code[0x20:]), order.Uint16(code[0x36:])
	}
	order.PutUint32(code[table+uint64(i)*uint64(size):], uint32(kind))
}

// memoryFile returns the path of a file that is in memory until this process ends.
func memoryFile(content []byte) string {
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	name := fmt.Sprintf("/proc/self/fd/%d", fd)
	if err == nil {
		err = os.WriteFile(name, content, 0)
	}
	if err != nil {
		panic(err)
	}
	return name
}

// runIn makes this process seem to run in the container with the ID id, or in none
// if id is empty. It needs a mount namespace.
func runIn(t *testing.T, id string) {
	t.Helper()
	for _, f := range []string{"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"} {
		_ = unix.Unmount(f, unix.MNT_DETACH) // of the container in which the tests may run
	}
	if id == "" {
		return
	}
	dir := t.TempDir() + "/" + id
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/hosts", []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(dir+"/hosts", "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount("/etc/hosts", unix.MNT_DETACH) })
}

// probe opens a target and probes it once.
func probe(t *testing.T, target string, o Options) (host.Facts, error) {
	t.Helper()
	h, err := Open(t.Context(), target, o)
	if err != nil {
		return host.Facts{}, err
	}
	facts, err := h.Probe(t.Context(), host.Request{})
	if failed := h.Close(); failed != nil && err == nil {
		t.Errorf("%s: close: %v", target, failed)
	}
	return facts, err
}

func gaps(facts host.Facts) string {
	var all []string
	for _, g := range facts.Gaps {
		all = append(all, string(g.Kind)+": "+g.What)
	}
	return strings.Join(all, "; ")
}

// checkError checks that err contains each of words, or is nil if there are none.
func checkError(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	if err == nil && len(words) > 0 || err != nil && len(words) == 0 {
		t.Errorf("%s: %v; want %q", what, err, words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %v; want %q", what, err, w)
		}
	}
}

func TestContainersAreProbedByAHelper(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	runIn(t, selfID)
	e := startEngine(t)
	e.addExpired("expired", nil)
	e.config.Env = []string{"PATH=/bin", "GODEBUG=panicnil=1", "LD_PRELOAD"}
	for _, c := range []struct {
		target, network string
		kind            host.NamespaceKind // that the helper sees
		want            host.Namespace
	}{
		{"container:web", "container:" + webID, host.NamespaceUnknown, host.Namespace{Kind: host.NamespaceContainer, Reason: "a helper has joined that of web"}},
		{"container:web", "container:" + webID, host.NamespaceHost, host.Namespace{Kind: host.NamespaceHost}},
		{"job", "container:" + webID, host.NamespaceContainer, host.Namespace{Kind: host.NamespaceContainer, Reason: "a helper has joined that of web"}},
		{"runner", "host", host.NamespaceContainer, host.Namespace{Kind: host.NamespaceHost, Reason: "according to the container engine"}},
	} {
		e.facts.Machine = host.Machine{BootID: host.Local{}.Machine().BootID, Namespace: host.Namespace{Kind: c.kind}}
		e.created, e.removed = nil, nil
		o := e.options()
		o.Job.Container = webID
		facts, err := probe(t, c.target, o)
		if err != nil || facts.Machine.Namespace != c.want || len(facts.Gaps) > 0 {
			t.Errorf("%s: %v, %+v, gaps %s", c.target, err, facts.Machine.Namespace, gaps(facts))
		}
		e.checkRemoved(t)
		if !slices.Contains(e.removed, "expired") {
			t.Errorf("%s: an expired helper was left", c.target)
		}
		if !regexp.MustCompile("^portcheck-[a-z2-7]{12}$").MatchString(e.name) {
			t.Errorf("%s: the helper is named %q", c.target, e.name)
		}
		if len(e.created) != 1 {
			t.Fatalf("%s: %d helpers", c.target, len(e.created))
		}
		spec := e.created[0]
		deadline, _ := strconv.ParseInt(spec.Labels[deadlineLabel], 10, 64)
		if left := time.Until(time.Unix(deadline, 0)); left < 30*time.Second || left > time.Minute {
			t.Errorf("%s: the helper expires in %s", c.target, left)
		}
		if got := spec.HostConfig; spec.Image != ourImage || got.NetworkMode != c.network || got.PidMode != "host" || !got.AutoRemove || !got.ReadonlyRootfs ||
			!slices.Equal(spec.Cmd, []string{"probe", "--confine", "--for", "1m0s"}) || !spec.OpenStdin || !spec.StdinOnce ||
			!slices.Equal(spec.Entrypoint, []string{helperPath}) || spec.User != "0:0" || spec.WorkingDir != "/" || !slices.Equal(spec.Healthcheck.Test, []string{"NONE"}) ||
			!slices.Equal(spec.Env, []string{"PATH=", "GODEBUG=", "LD_PRELOAD="}) || !slices.Equal(got.SecurityOpt, []string{"no-new-privileges", "apparmor=unconfined"}) ||
			!slices.Equal(got.CapDrop, []string{"ALL"}) || strings.Join(got.CapAdd, " ") != "NET_BIND_SERVICE SYS_PTRACE DAC_READ_SEARCH SETUID SETGID NET_ADMIN SETPCAP" ||
			got.Memory != 512<<20 || got.MemorySwap != 512<<20 || got.PidsLimit != 1024 {
			t.Errorf("%s: spec %+v", c.target, spec)
		}
	}
}

func TestTargetsThatNeedAnEngine(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	for name, c := range map[string]struct {
		target string
		adjust func(*fakeEngine, *Options)
		want   []string
	}{
		"no such container":    {"container:none", nil, []string{`has no container "none"`}},
		"one that has stopped": {"container:web", func(e *fakeEngine, _ *Options) { e.details[1].State.Running = false }, []string{`container "web" is not running`}},
		"an engine that fails": {"container:web", func(e *fakeEngine, _ *Options) { e.fail(500, "broken", "GET /containers/web/json") }, []string{"the engine refused: broken"}},
		"a job without one":    {"job", nil, []string{"this job has no container of its own"}},
		"no engine":            {"container:web", func(_ *fakeEngine, o *Options) { o.Env = map[string]string{"DOCKER_HOST": "ssh://x"} }, []string{"DOCKER_HOST is a ssh:// address"}},
		"runner":               {"runner", func(e *fakeEngine, _ *Options) { e.fail(500, "broken", "GET /containers/"+selfID+"/json") }, []string{"this would test the container, not the runner: the engine refused: broken"}},
		"runner by auto":       {"runner", func(e *fakeEngine, o *Options) { e.details, o.Job.Chosen = nil, true }, []string{"this would test the container, not the runner", "has no record of this container", "(`target: local` tests this container's ports)"}},
		"rootless, unknown":    {"runner", func(e *fakeEngine, _ *Options) { e.fail(500, "broken", "GET /info") }, []string{"the engine refused: broken"}},
	} {
		runIn(t, selfID)
		e := startEngine(t)
		o := e.options()
		if c.adjust != nil {
			c.adjust(e, &o)
		}
		_, err := probe(t, c.target, o)
		checkError(t, name, err, c.want...)
		if err != nil && c.target == "runner" && !o.Job.Chosen && strings.Contains(err.Error(), "target: local") {
			t.Errorf("%s: %v: the user chose the target", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	runIn(t, selfID)
	if _, err := Open(ctx, "runner", startEngine(t).options()); err != context.Canceled {
		t.Errorf("canceled: %v", err)
	}
}

// A helper is started from the image of portcheck's own container, and only if that
// is a portcheck image.
func TestFindSelf(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	const other, third = "1111", "2222"
	pod := details(selfID, "pod", someImage, "bridge") // our container joins its network
	joined := func(id, image, network string) engine.Details { return details(id, "joined-"+id, image, network) }
	exited := joined(other, ourImage, "container:"+selfID)
	exited.State.Running, exited.State.Status = false, "exited"
	dead := joined(other, ourImage, "container:"+selfID)
	dead.State.Running, dead.State.Status = false, "dead"
	created := joined(other, ourImage, "container:"+selfID)
	created.State.Running, created.State.Status = false, "created"
	for name, c := range map[string]struct {
		self    string
		details []engine.Details
		fail    []string
		status  int
		id      string // of the container that is found
		network string
		want    []string // or of the error
	}{
		"ours":                   {selfID, []engine.Details{details(selfID, "p", ourImage, "host")}, nil, 0, selfID, "host", nil},
		"no container":           {"", nil, nil, 0, "", "", []string{"portcheck does not run in a container of an engine"}},
		"an unknown one":         {selfID, nil, nil, 0, "", "", []string{"has no record of this container"}},
		"another image":          {selfID, []engine.Details{pod}, nil, 0, "", "", []string{`this container's image, "pod:1", is not a portcheck image of this version`}},
		"another version":        {selfID, []engine.Details{details(selfID, "p", oldImage, "host")}, nil, 0, "", "", []string{`"p:1", is not a portcheck image of this version`}},
		"it can't be inspected":  {selfID, []engine.Details{pod}, []string{"GET /containers/" + selfID + "/json"}, 500, "", "", []string{"the engine refused: broken"}},
		"its image can't be":     {selfID, []engine.Details{details(selfID, "p", ourImage, "host")}, []string{"GET /images/" + ourImage + "/json"}, 500, "", "", []string{"the engine refused: broken"}},
		"joined by ID":           {selfID, []engine.Details{pod, joined(other, ourImage, "container:"+selfID)}, nil, 0, other, "bridge", nil},
		"joined by name":         {selfID, []engine.Details{pod, joined(other, ourImage, "container:pod")}, nil, 0, other, "bridge", nil},
		"joined, not listed yet": {selfID, []engine.Details{pod, created}, nil, 0, other, "bridge", nil},
		"joined to another":      {selfID, []engine.Details{pod, joined(other, ourImage, "container:else")}, nil, 0, "", "", []string{"is not a portcheck image"}},
		"not joined":             {selfID, []engine.Details{pod, joined(other, ourImage, selfID)}, nil, 0, "", "", []string{"is not a portcheck image"}},
		"joined, exited":         {selfID, []engine.Details{pod, exited}, nil, 0, "", "", []string{"is not a portcheck image"}},
		"joined, dead":           {selfID, []engine.Details{pod, dead}, nil, 0, "", "", []string{"is not a portcheck image"}},
		"joined, not ours":       {selfID, []engine.Details{pod, joined(other, oldImage, "container:"+selfID)}, nil, 0, "", "", []string{"is not a portcheck image"}},
		"joined, gone since":     {selfID, []engine.Details{pod, joined(other, ourImage, "container:"+selfID)}, []string{"GET /containers/" + other + "/json"}, 404, "", "", []string{"is not a portcheck image"}},
		"joined, broken":         {selfID, []engine.Details{pod, joined(other, ourImage, "container:"+selfID)}, []string{"GET /containers/" + other + "/json"}, 500, "", "", []string{"the engine refused: broken"}},
		"joined, broken image":   {selfID, []engine.Details{pod, joined(other, ourImage, "container:"+selfID)}, []string{"GET /images/" + ourImage + "/json"}, 500, "", "", []string{"the engine refused: broken"}},
		"joined, broken list":    {selfID, []engine.Details{pod}, []string{"GET /containers/json"}, 500, "", "", []string{"the engine refused: broken"}},
		"two joined":             {selfID, []engine.Details{pod, joined(other, ourImage, "container:pod"), joined(third, ourImage, "container:pod")}, nil, 0, other, "bridge", nil},
		"two joined, two images": {selfID, []engine.Details{pod, joined(other, ourImage, "container:pod"), joined(third, "sha256:also", "container:pod")}, nil, 0, "", "", []string{"different portcheck images share this network namespace"}},
	} {
		t.Run(name, func(t *testing.T) {
			runIn(t, c.self)
			fake := startEngine(t)
			fake.labels["sha256:also"] = fake.labels[ourImage]
			fake.details = c.details
			for _, d := range c.details {
				fake.list = append(fake.list, engine.Container{ID: d.ID})
			}
			fake.fail(c.status, "broken", c.fail...)
			e, err := engine.New(fake.env)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			self, err := findSelf(t.Context(), e)
			checkError(t, name, err, c.want...)
			if err == nil && (self.ID != c.id || self.HostConfig.NetworkMode != c.network) {
				t.Errorf("found %q in the network %q", self.ID, self.HostConfig.NetworkMode)
			}
		})
	}
}

// A helper is requested with fewer rights, step by step, while the engine refuses
// it. A gap names the consequence.
func TestHelpersWithFewerRights(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	runIn(t, selfID)
	unconfined := func(s engine.Spec) bool { return slices.Contains(s.HostConfig.SecurityOpt, "apparmor=unconfined") }
	userns := func(s engine.Spec) bool { return s.HostConfig.UsernsMode != "" || s.HostConfig.CgroupnsMode == "host" }
	processes := func(s engine.Spec) bool {
		return s.HostConfig.PidMode != "" || slices.Contains(s.HostConfig.CapAdd, "SYS_PTRACE")
	}
	netAdmin := func(s engine.Spec) bool { return slices.Contains(s.HostConfig.CapAdd, "NET_ADMIN") }
	none := func(engine.Spec) bool { return false }
	either := func(all ...func(engine.Spec) bool) func(engine.Spec) bool {
		return func(s engine.Spec) bool {
			return slices.ContainsFunc(all, func(f func(engine.Spec) bool) bool { return f(s) })
		}
	}
	for name, c := range map[string]struct {
		evidence Evidence
		refused  func(engine.Spec) bool
		created  int
		gap      string
	}{
		"all":                      {Full, none, 1, ""},
		"no CAP_NET_ADMIN":         {Full, netAdmin, 2, "nat-rules: NAT rules can't be read, so it is not known whether one sends callers elsewhere: the container engine refused a helper with CAP_NET_ADMIN (the engine refused: no)"},
		"no unconfined":            {Full, unconfined, 3, "holders: the container engine refused a helper without AppArmor confinement: where AppArmor is enabled, other processes can't be inspected (the engine refused: no)"},
		"no user namespace":        {Full, either(unconfined, userns), 4, "holders: the container engine refused a helper in the host's user namespace, so some processes may be invisible (the engine refused: no)"},
		"no processes":             {Full, either(unconfined, userns, processes), 5, "nat-rules: NAT rules can't be read, so it is not known whether one sends callers elsewhere: the container engine refused a helper with CAP_NET_ADMIN (the engine refused: no); holders: the container engine refused a helper with access to other processes, so the holders of ports are unknown (the engine refused: no)"},
		"basic":                    {Basic, either(unconfined, processes), 1, "nat-rules: NAT rules can't be read, so it is not known whether one sends callers elsewhere: the helper container has no CAP_NET_ADMIN (evidence: basic); holders: the helper container may not see other processes (evidence: basic), so the holders of ports are unknown"},
		"basic, no user namespace": {Basic, either(unconfined, userns, processes), 2, "nat-rules: NAT rules can't be read, so it is not known whether one sends callers elsewhere: the helper container has no CAP_NET_ADMIN (evidence: basic) (the engine refused: no); holders: the helper container may not see other processes (evidence: basic), so the holders of ports are unknown (the engine refused: no)"},
	} {
		e := startEngine(t)
		e.refuse = func(s engine.Spec) string {
			e.facts.Gaps = nil
			if !netAdmin(s) {
				e.facts.Gaps = []host.Gap{{Kind: host.GapRules, What: host.RulesUnread + ": EPERM"}}
			}
			if c.refused(s) {
				return "no"
			}
			return ""
		}
		o := e.options()
		o.Evidence = c.evidence
		facts, err := probe(t, "container:web", o)
		if err != nil || gaps(facts) != c.gap || len(e.created) != c.created {
			t.Errorf("%s: %v, %d tries, gaps %s", name, err, len(e.created), gaps(facts))
		}
		e.checkRemoved(t)
	}
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		created int
		want    string
	}{
		"refused whatever it is": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, 5, "a helper container can't be started: the engine answered POST /containers/create with HTTP status 403"},
		"no image":               {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, 1, "HTTP status 404"},
		"the engine breaks":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 1, "can't be queried"},
	} {
		e := startEngine(t)
		var tries atomic.Int32
		e.on["POST /containers/create"] = func(w http.ResponseWriter, r *http.Request) { tries.Add(1); c.answer(w, r) }
		_, err := probe(t, "container:web", e.options())
		checkError(t, name, err, c.want)
		if got := int(tries.Load()); got != c.created {
			t.Errorf("%s: %d tries", name, got)
		}
	}
}

func TestHelpersThatFail(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	runIn(t, selfID)
	boot := host.Local{}.Machine().BootID
	for name, c := range map[string]struct {
		adjust func(*fakeEngine)
		want   []string
	}{
		"this machine":       {func(e *fakeEngine) { e.facts.Machine.BootID = boot }, nil},
		"an unknown machine": {func(*fakeEngine) {}, nil},
		"another machine":    {func(e *fakeEngine) { e.facts.Machine.BootID = "another" }, []string{"is on another machine than this container"}},
		"it dies":            {func(e *fakeEngine) { e.stderr = "exec format error\n" }, []string{"the probe ended", "; stderr of the helper container: exec format error"}},
		"it dies silently":   {func(e *fakeEngine) { e.stderr = " \n" }, []string{"the probe ended"}},
		"no start":           {func(e *fakeEngine) { e.fail(500, "broken", "POST /containers/"+helperID+"/start") }, []string{"a helper container can't be started: the engine refused: broken"}},
		"no attachment":      {func(e *fakeEngine) { e.fail(500, "closed", "POST /containers/"+helperID+"/attach") }, []string{"a helper container can't be started: the engine refused: closed"}},
	} {
		e := startEngine(t)
		c.adjust(e)
		_, err := probe(t, "container:web", e.options())
		checkError(t, name, err, c.want...)
		if err != nil && e.stderr == " \n" && strings.Contains(err.Error(), "stderr") {
			t.Errorf("%s: %v", name, err)
		}
		e.checkRemoved(t)
	}
}

// A helper is not started unless the file that it would execute is our own
// executable, byte for byte. It is removed, and the error has the way out.
func TestForeignHelpers(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	runIn(t, selfID)
	own, err := os.ReadFile(staticSelf())
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(own))
	changed := bytes.Clone(own)
	changed[size-1]++
	content := func(text []byte) func(io.Writer) error {
		return func(w io.Writer) error { _, err := w.Write(text); return err }
	}
	const another = "its /usr/local/bin/portcheck is another program than the portcheck that runs here"
	for name, c := range map[string]struct {
		archive archive
		config  engine.ImageConfig
		want    []string // none if it is ours
		asked   bool     // whether the error has the way out
	}{
		"ours":                           {archive: archive{}},
		"ours, by Podman":                {archive: archive{links: map[string]string{"/usr": "/usr", "/usr/local": "/usr/local", "/usr/local/bin": "/usr/local/bin", helperPath: helperPath}}},
		"a script":                       {archive{size: 10, content: content([]byte("#!/bin/sh\n"))}, engine.ImageConfig{}, []string{another}, true},
		"an empty file":                  {archive{size: -1, header: func(h *tar.Header) bool { h.Size = 0; return false }}, engine.ImageConfig{}, []string{"is not a regular file"}, true},
		"the last byte":                  {archive{content: content(changed)}, engine.ImageConfig{}, []string{another}, true},
		"one more byte":                  {archive{size: size + 1, content: content(append(bytes.Clone(own), 0))}, engine.ImageConfig{}, []string{another}, true},
		"one less":                       {archive{size: size - 1, content: content(own[:size-1])}, engine.ImageConfig{}, []string{another}, true},
		"cut short":                      {archive{content: content(own[:size/2])}, engine.ImageConfig{}, []string{"can't be compared with this portcheck", "unexpected EOF"}, false},
		"of another size than described": {archive{header: func(h *tar.Header) bool { h.Size = 10; return false }}, engine.ImageConfig{}, []string{"is not a regular file"}, true},
		"another file":                   {archive{header: func(h *tar.Header) bool { h.Name = "x"; return true }}, engine.ImageConfig{}, []string{"is not a regular file"}, true},
		"a hard link":                    {archive{header: func(h *tar.Header) bool { h.Typeflag, h.Linkname, h.Size = tar.TypeLink, "x", 0; return false }}, engine.ImageConfig{}, []string{"is not a regular file"}, true},
		"a link":                         {archive{links: map[string]string{helperPath: "/proc/1/root/tmp/x"}}, engine.ImageConfig{}, []string{helperPath + " is not a regular file"}, true},
		"a link on the way":              {archive{links: map[string]string{"/usr/local/bin": "/proc/1/root/tmp"}}, engine.ImageConfig{}, []string{"/usr/local/bin is not a directory"}, true},
		"a link at the top":              {archive{links: map[string]string{"/usr": "proc/1/root/usr"}}, engine.ImageConfig{}, []string{"/usr is not a directory"}, true},
		"no such file":                   {archive{missing: helperPath}, engine.ImageConfig{}, []string{"it has no " + helperPath}, true},
		"no such directory":              {archive{missing: "/usr/local"}, engine.ImageConfig{}, []string{"it has no /usr/local,"}, true},
		"a volume":                       {archive{}, engine.ImageConfig{Volumes: map[string]struct{}{"/usr/local/bin": {}}}, []string{"it declares volumes"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEngine(t)
			e.archive, e.config = c.archive, c.config
			_, err := probe(t, "container:web", e.options())
			checkError(t, name, err, c.want...)
			if c.asked && !strings.Contains(err.Error(), "start portcheck unchanged from its own image, and not in the network of another container") {
				t.Errorf("no way out: %v", err)
			}
			if e.started != (len(c.want) == 0) {
				t.Errorf("started: %v", e.started)
			}
			if len(c.config.Volumes) > 0 {
				if len(e.created) > 0 {
					t.Errorf("created %+v", e.created)
				}
				return
			}
			if len(e.created) != 1 {
				t.Errorf("%d helpers are created", len(e.created))
			}
			e.checkRemoved(t)
		})
	}
	for name, answer := range map[string]http.HandlerFunc{
		"forbidden":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"no archive":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") },
		"interrupted": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		for _, method := range []string{"HEAD", "GET"} {
			e := startEngine(t)
			e.on[method+" /containers/"+helperID+"/archive"] = answer
			_, err := probe(t, "container:web", e.options())
			checkError(t, name, err, "a helper container can't be started: the image can't be compared with this portcheck: ")
			if e.started || len(e.created) != 1 {
				t.Errorf("%s, %s: started %v, %d created", name, method, e.started, len(e.created))
			}
			e.checkRemoved(t)
		}
	}
}

// The engine's own system call filter is asked for only if its default is none.
func TestSystemCallFilter(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	runIn(t, selfID)
	for info, want := range map[string]bool{
		`{}`: false, `{"SecurityOptions":["name=seccomp,profile=builtin"]}`: false, `{"SecurityOptions":["name=seccomp,profile=/etc/own.json"]}`: false,
		`{"SecurityOptions":["name=apparmor","name=seccomp,profile=unconfined"]}`: true,
	} {
		e := startEngine(t)
		e.info = info
		if _, err := probe(t, "container:web", e.options()); err != nil {
			t.Errorf("%s: %v", info, err)
		}
		if got := slices.Contains(e.created[0].HostConfig.SecurityOpt, "seccomp=builtin"); got != want {
			t.Errorf("%s: %v", info, e.created[0].HostConfig.SecurityOpt)
		}
	}
}

// A helper is also removed if the engine creates it while the run is canceled.
func TestCanceledHelpers(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	runIn(t, selfID)
	t.Run("created late", func(t *testing.T) {
		e := startEngine(t)
		ctx, cancel := context.WithCancel(t.Context())
		e.on["POST /containers/create"] = func(w http.ResponseWriter, r *http.Request) {
			cancel()
			select { // the request is not canceled with the run
			case <-r.Context().Done():
				t.Error("the request was aborted")
			case <-time.After(100 * time.Millisecond):
			}
			e.create(w, r)
		}
		if _, err := Open(ctx, "container:web", e.options()); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		e.checkRemoved(t)
	})
	hang := func(e *fakeEngine) (ended chan struct{}) {
		ended = make(chan struct{})
		e.on["POST /containers/create"] = func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // the server sees the end of the connection only after that
			<-r.Context().Done()
			close(ended)
		}
		return ended
	}
	t.Run("never created", func(t *testing.T) {
		e := startEngine(t)
		hang(e)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		began := time.Now()
		if _, err := Open(ctx, "container:web", e.options()); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if took := time.Since(began); took < cleanupTimeout || took > 8*cleanupTimeout {
			t.Errorf("it took %s", took)
		}
		if len(e.removed) != 1 {
			t.Errorf("removed %q", e.removed)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		e := startEngine(t)
		ended := hang(e)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := Open(ctx, "container:web", e.options()); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the request has no deadline")
		}
	})
	t.Run("probe", func(t *testing.T) {
		e := startEngine(t)
		e.stderr = "words"
		h, err := Open(t.Context(), "container:web", e.options())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := h.Probe(ctx, host.Request{}); err != context.Canceled {
			t.Error(err)
		}
		_ = h.Close() // its stream is closed already
		e.checkRemoved(t)
	})
}

// addExpired adds a helper of ours that expired some time ago, after a change.
func (e *fakeEngine) addExpired(id string, change func(*engine.Container, *engine.Details)) {
	deadline := time.Now().Add(-20 * time.Second)
	d := details(id, "portcheck-abcdefgh2345", ourImage, "host")
	d.Created, d.State.Running, d.State.Status = deadline.Add(-time.Minute).Format(time.RFC3339Nano), false, "created"
	d.Path, d.Args, d.HostConfig.AutoRemove = helperPath, []string{"probe", "--confine", "--for", "1m0s"}, true
	c := engine.Container{ID: id, Names: []string{d.Name}, Labels: map[string]string{deadlineLabel: strconv.FormatInt(deadline.Unix(), 10)}}
	if change != nil {
		change(&c, &d)
	}
	e.list, e.details = append(e.list, c), append(e.details, d)
}

// A sweep removes a limited number of helpers that expired some time ago, and
// nothing that is not a helper of ours in all it has.
func TestSweep(t *testing.T) {
	e := startEngine(t)
	at := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }
	for name, change := range map[string]func(*engine.Container, *engine.Details){
		"not expired": func(c *engine.Container, _ *engine.Details) { c.Labels[deadlineLabel] = at(time.Minute) },
		"ending":      func(c *engine.Container, _ *engine.Details) { c.Labels[deadlineLabel] = at(-5 * time.Second) },
		"no deadline": func(c *engine.Container, _ *engine.Details) { c.Labels[deadlineLabel] = "" },
		"a word":      func(c *engine.Container, _ *engine.Details) { c.Labels[deadlineLabel] = "x" },
		"an absurd deadline": func(c *engine.Container, d *engine.Details) {
			c.Labels[deadlineLabel], d.Created = "1", time.Now().Add(-time.Hour).Format(time.RFC3339Nano)
		},
		"before the epoch": func(c *engine.Container, _ *engine.Details) { c.Labels[deadlineLabel] = "-9223372036854775808" },
		"too far after it": func(_ *engine.Container, d *engine.Details) {
			d.Created = time.Now().Add(-25 * time.Hour).Format(time.RFC3339Nano)
		},
		"before it": func(_ *engine.Container, d *engine.Details) {
			d.Created = time.Now().Add(2 * time.Minute).Format(time.RFC3339Nano)
		},
		"no creation": func(_ *engine.Container, d *engine.Details) { d.Created = "" },
		"name": func(c *engine.Container, d *engine.Details) {
			c.Names, d.Name = []string{"/portcheck-database"}, "/portcheck-database"
		},
		"alias":   func(c *engine.Container, _ *engine.Details) { c.Names = []string{"/x/portcheck-abcdefgh2345"} },
		"renamed": func(_ *engine.Container, d *engine.Details) { d.Name = "/web" },
		"image":   func(_ *engine.Container, d *engine.Details) { d.Image = someImage },
		"release": func(_ *engine.Container, d *engine.Details) { d.Image = oldImage },
		"exited":  func(_ *engine.Container, d *engine.Details) { d.State.Status = "exited" },
		"program": func(_ *engine.Container, d *engine.Details) { d.Path = "/bin/sh" },
		"command": func(_ *engine.Container, d *engine.Details) { d.Args = []string{"check", "--confine", "--for", "1m0s"} },
		"kept":    func(_ *engine.Container, d *engine.Details) { d.HostConfig.AutoRemove = false },
		"a volume": func(_ *engine.Container, d *engine.Details) {
			d.Mounts = append(d.Mounts, struct{ Destination string }{"/data"})
		},
		"gone since": func(_ *engine.Container, d *engine.Details) { d.ID, d.Name = "else", "/else" },
	} {
		e.addExpired("keep: "+name, change)
	}
	for i := range 19 {
		e.addExpired(fmt.Sprint("old-", i), func(_ *engine.Container, d *engine.Details) {
			if i%2 == 0 {
				d.State.Running, d.State.Status = true, "running"
			}
		})
	}
	client, err := engine.New(e.env)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var asked string
	list := e.list
	e.on["GET /containers/json"] = func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query().Get("all") + r.URL.Query().Get("filters")
		var text bytes.Buffer
		_ = json.NewEncoder(&text).Encode(list)
		write(text.String())(w, r)
	}
	sweep(t.Context(), client, ourImage)
	if want := `1{"label":["` + deadlineLabel + `"]}`; asked != want {
		t.Errorf("requested %s, want %s", asked, want)
	}
	if len(e.removed) != 16 || slices.ContainsFunc(e.removed, func(id string) bool { return strings.HasPrefix(id, "keep") }) {
		t.Errorf("removed %q", e.removed)
	}
	e.removed = nil
	e.fail(500, "broken", "GET /containers/json")
	sweep(t.Context(), client, ourImage)
	if len(e.removed) > 0 {
		t.Errorf("removed %q", e.removed)
	}
}

// In a container that the user did not choose, a gap names the container.
func TestWarningOfAContainer(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	for name, c := range map[string]struct {
		self   string
		chosen bool // that is, not named
		system string
		warned bool
	}{
		"chosen":        {selfID, true, "GitLab", true},
		"named":         {selfID, false, "GitLab", false},
		"no CI system":  {selfID, true, "", true},
		"own choice":    {selfID, false, "", false},
		"no containers": {"", true, "GitLab", false},
		"a namespace":   {"", true, "", false}, // as by ip netns
	} {
		if c.self == "" {
			if _, inside := host.OwnContainer(); inside {
				continue // the tests run in one
			}
		}
		runIn(t, c.self)
		facts, err := probe(t, "local", Options{Job: Job{System: c.system, Chosen: c.chosen}})
		if err != nil {
			t.Fatal(err)
		}
		by := "portcheck runs, not the machine's"
		if c.system != "" {
			by = "GitLab runs this job, not the machine's"
		}
		if got := strings.Contains(gaps(facts), "these are the ports of the container in which "+by); got != c.warned {
			t.Errorf("%s: gaps %s", name, gaps(facts))
		}
		runIn(t, "")
	}
}

func TestRunnerByEngine(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	runIn(t, selfID)
	const unseen = "holders: the processes of the machine can't be seen from this container's PID namespace, and there is no helper container: "
	for name, c := range map[string]struct {
		ns      host.Namespace
		network string // of our own container
		broken  bool
		helpers int
		gap     string
		want    []string
	}{
		"all processes and the host's network": {host.Namespace{Kind: host.NamespaceUnknown, AllProcesses: true}, "host", false, 0, "", nil},
		"the host's network":                   {host.Namespace{Kind: host.NamespaceUnknown}, "host", false, 1, "", nil},
		"all processes":                        {host.Namespace{Kind: host.NamespaceContainer, AllProcesses: true}, "bridge", false, 1, "", nil},
		"neither":                              {host.Namespace{Kind: host.NamespaceContainer}, "bridge", false, 1, "", nil},
		"host, no engine":                      {host.Namespace{Kind: host.NamespaceHost}, "host", true, 0, unseen + "the engine refused: broken", nil},
		"no engine":                            {host.Namespace{Kind: host.NamespaceContainer}, "host", true, 0, "", []string{"this would test the container, not the runner: the engine refused: broken"}},
	} {
		e := startEngine(t)
		e.details[0].HostConfig.NetworkMode = c.network
		if c.broken {
			e.fail(http.StatusInternalServerError, "broken", "GET /containers/"+selfID+"/json")
		}
		h, err := openRunnerByEngine(t.Context(), c.ns, e.options())
		checkError(t, name, err, c.want...)
		if err != nil {
			continue
		}
		facts, err := h.Probe(t.Context(), host.Request{})
		if err != nil || gaps(facts) != c.gap || len(e.created) != c.helpers {
			t.Errorf("%s: %v, gaps %s, %d helpers", name, err, gaps(facts), len(e.created))
		}
		if err := h.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
