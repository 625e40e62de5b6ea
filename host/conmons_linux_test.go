package host

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

// forwardScript listens at a port for ever, like rootlessport and pasta.
const forwardScript = `
import os, signal, socket, sys
for _ in range(int(os.environ.get("COPIES", 0))):
    os.dup(3)
os.setresuid(int(sys.argv[1]), int(sys.argv[1]), int(sys.argv[1]))
s = socket.socket()
s.bind(("", 8080))
s.listen()
print("ready", flush=True)
signal.pause()
`

// conmonScript starts the processes of its environment, like conmon, and watches them.
const conmonScript = `
import os, resource, signal, subprocess
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
for _ in range(int(os.environ.get("COPIES", 0))):
    os.dup(3)
for command in os.environ["WATCHED"].splitlines():
    p = subprocess.Popen(["/bin/sh", "-ec", "exec " + command], stdout=subprocess.PIPE)
    p.stdout.readline()
uid = int(os.environ["AS"])
os.setresuid(uid, uid, uid)
print("ready", flush=True)
signal.pause()
`

// bed has copies of Python, by whose names portcheck knows forwarders and conmons.
type bed struct{ dir string }

func newBed(t *testing.T) bed {
	t.Helper()
	testbed.NeedUsers(t)
	for _, name := range []string{"unshare", "nsenter", "mount"} {
		if _, err := exec.LookPath(name); err != nil {
			testbed.Missing(t, err.Error())
		}
	}
	code, err := os.ReadFile("/usr/bin/python3")
	if err != nil {
		testbed.Missing(t, err.Error())
	}
	dir, err := os.MkdirTemp("", "conmons-") // other users have to read it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // in a temporary directory
	for _, sub := range []string{"bin", "users"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"bin/rootlessport", "bin/slirp4netns", "bin/pasta", "bin/conmon", "users/conmon"} {
		if err := os.WriteFile(filepath.Join(dir, path), code, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{os.Chmod(dir, 0o755), os.Chown(dir+"/users/conmon", 1000, 1000)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return bed{dir}
}

// start starts a script, with descriptors that it inherits from 3 on, and in a PID
// namespace of its own if it is inside of a container.
func (b bed) start(t *testing.T, file, script string, env []string, files []*os.File, inside bool, args ...string) {
	t.Helper()
	path := filepath.Join(b.dir, filepath.Base(file)+".py")
	if err := os.WriteFile(path, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	adjust := func(cmd *exec.Cmd) {
		cmd.Env, cmd.ExtraFiles = append(os.Environ(), append(env, "PYTHONHOME=/usr")...), files
	}
	words := append([]string{filepath.Join(b.dir, file), path}, args...)
	if inside {
		words = append([]string{"unshare", "--pid", "--fork", "--kill-child"}, words...)
	}
	if _, line := testbed.StartWith(t, adjust, words[0], words[1:]...); line != "ready" {
		t.Fatal(line)
	}
}

// Two containers by their IDs.
var (
	webID = strings.Repeat("a1", 32)
	dbID  = strings.Repeat("b2", 32)
)

// A conmon of the tests. It is one of Podman's by default.
type fakeConmon struct {
	file     string // bin/conmon
	uid      int    // 1000
	id, name string
	exit     string // /usr/bin/podman
	files    []*os.File
	watched  []string
	inside   bool // a container
	copies   int  // of the first file
}

func (b bed) startConmon(t *testing.T, c fakeConmon) {
	t.Helper()
	or := func(a, b string) string {
		if a == "" {
			return b
		}
		return a
	}
	uid := "1000"
	if c.uid != 0 {
		uid = "1001"
	}
	b.start(t, or(c.file, "bin/conmon"), conmonScript, []string{"AS=" + uid, "WATCHED=" + strings.Join(c.watched, "\n"), fmt.Sprint("COPIES=", c.copies)}, c.files, c.inside,
		"--api-version", "1", "-c", c.id, "-u", c.id, "-n", c.name, "--exit-command", or(c.exit, "/usr/bin/podman"))
}

// served returns the name of the container for which the forwarder at the port is said
// to hold it.
func served(t *testing.T) string {
	t.Helper()
	h := onlySocket(t, probeHere(t, tries(t, "tcp any 8080"))).Holders[0]
	if f, proven := ForwarderOf(h); f == nil || !proven {
		t.Fatalf("no forwarder: %+v", h)
	}
	if h.ContainerInfo == nil {
		if h.Container != "" {
			t.Errorf("container %s without a name", h.Container)
		}
		return ""
	}
	// To root it is the word of a user.
	if h.ContainerInfo.Engine != "podman" || !h.ContainerInfo.NameOnly || slices.Contains(h.Vouched, "container") || h.Container == "" {
		t.Errorf("%+v %+v", h, h.ContainerInfo)
	}
	return h.ContainerInfo.Name
}

// Podman gives the conmon of a container the end of a pipe, from which rootlessport and
// slirp4netns read that the container has ended.
func TestContainerAtAPipe(t *testing.T) {
	for name, c := range map[string]struct {
		forwarder string // bin/rootlessport
		conmons   func(read, write []*os.File) []fakeConmon
		want      string
	}{
		"one": {"", func(_, w []*os.File) []fakeConmon {
			return []fakeConmon{{id: webID, name: "web", files: w}, {id: dbID, name: "db"}}
		}, "web"},
		"of slirp4netns": {"bin/slirp4netns", func(_, w []*os.File) []fakeConmon { return []fakeConmon{{id: webID, name: "web", files: w}} }, "web"},
		"without any":    {"", func(_, _ []*os.File) []fakeConmon { return []fakeConmon{{id: dbID, name: "db"}} }, ""},
		"beside one that reads": {"", func(r, w []*os.File) []fakeConmon {
			return []fakeConmon{{id: webID, name: "web", files: w}, {id: dbID, name: "db", files: r}}
		}, "web"},
		"two": {"", func(_, w []*os.File) []fakeConmon {
			return []fakeConmon{{id: webID, name: "web", files: w}, {id: dbID, name: "db", files: w}}
		}, ""},
		"beside one in a container": {"", func(_, w []*os.File) []fakeConmon {
			return []fakeConmon{{id: webID, name: "web", files: w}, {id: dbID, name: "db", files: w, inside: true}}
		}, "web"},
		"two of one container": {"", func(_, w []*os.File) []fakeConmon {
			return []fakeConmon{{id: webID, name: "web", files: w}, {id: webID, name: "web", files: w}}
		}, "web"},
		"two of one name": {"", func(_, w []*os.File) []fakeConmon {
			return []fakeConmon{{id: webID, name: "web", files: w}, {id: dbID, name: "web", files: w}}
		}, ""},
		"two names": {"", func(_, w []*os.File) []fakeConmon {
			return []fakeConmon{{id: webID, name: "web", files: w}, {id: webID, name: "db", files: w}}
		}, ""},
		"of another user": {"", func(_, w []*os.File) []fakeConmon { return []fakeConmon{{id: webID, name: "web", files: w, uid: 1001}} }, ""},
		"of another engine": {"", func(_, w []*os.File) []fakeConmon {
			return []fakeConmon{{id: webID, name: "web", files: w, exit: "/x"}}
		}, ""},
		"a file of the user's": {"", func(_, w []*os.File) []fakeConmon {
			return []fakeConmon{{id: webID, name: "web", files: w, file: "users/conmon"}}
		}, ""},
		"of pasta": {"bin/pasta", func(_, w []*os.File) []fakeConmon { return []fakeConmon{{id: webID, name: "web", files: w}} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if !testbed.Isolated(t) {
				return
			}
			b := newBed(t)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			forwarder := c.forwarder
			if forwarder == "" {
				forwarder = "bin/rootlessport"
			}
			b.start(t, forwarder, forwardScript, nil, []*os.File{r}, false, "1000")
			for _, m := range c.conmons([]*os.File{r}, []*os.File{w}) {
				b.startConmon(t, m)
			}
			if got := served(t); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// What can't be read within the limits may be another conmon at the pipe.
func TestConmonsBeyondTheLimits(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	b := newBed(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b.start(t, "bin/rootlessport", forwardScript, nil, []*os.File{r}, false, "1000")
	b.startConmon(t, fakeConmon{id: webID, name: "web", files: []*os.File{w}})
	if got := served(t); got != "web" {
		t.Fatalf("%q", got)
	}
	pid := onlySocket(t, probeHere(t, tries(t, "tcp any 8080"))).Holders[0].PID
	late, cancel := context.WithCancel(t.Context())
	cancel()
	for name, d := range map[string]*details{"in time": newDetails(t.Context(), false), "too late": newDetails(late, false), "too many": newDetails(t.Context(), false)} {
		if name == "too many" {
			d.conmons.left = 5
		}
		if h, ok := d.of(pid); !ok || (h.Container == webID) != (name == "in time") {
			t.Errorf("%s: container %q, %t", name, h.Container, ok)
		}
	}
}

// A user who opens many descriptors does not make the search long.
func TestConmonsWithManyDescriptors(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	b := newBed(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	const copies = 800 // a process of the tests may have 1,024
	b.start(t, "bin/rootlessport", forwardScript, []string{fmt.Sprint("COPIES=", copies)}, []*os.File{r}, false, "1000")
	b.startConmon(t, fakeConmon{id: webID, name: "web", files: []*os.File{w}, copies: copies})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d := newDetails(ctx, false)
	pid := onlySocket(t, probeHere(t, tries(t, "tcp any 8080"))).Holders[0].PID
	if h, _ := d.of(pid); h.Container != webID {
		t.Errorf("container %q", h.Container)
	}
	if least := costOfUser - 2*copies - 200; d.conmons.byUser[1000].left < least {
		t.Errorf("%d is left, want %d: each descriptor counts once", d.conmons.byUser[1000].left, least)
	}
	// Those of another user's don't count for this one.
	for range costOfUser/8000 + 1 {
		b.startConmon(t, fakeConmon{id: dbID, name: "db", files: []*os.File{w}, uid: 1001, copies: 8000})
	}
	d = newDetails(t.Context(), false)
	if d.watchOf(1001).complete {
		t.Error("there is no limit")
	}
	if h, _ := d.of(pid); h.Container != webID {
		t.Errorf("beside those of another user: container %q", h.Container)
	}
}

// pasta has the network namespace of a container open, which others may have joined. The
// first one has its own /etc/hosts there, and the others that of the first.
func TestContainerInANetwork(t *testing.T) {
	const uuid = "netns-1de40699-79c9-d86a-d263-524044db5b1f"
	// in is a process in the network namespace, with the hosts of a container.
	in := func(ns, id string) string {
		return "nsenter --net=$DIR/" + ns + " unshare -m /bin/sh -ec 'mount --bind $DIR/" + id + "/hosts /etc/hosts; echo; exec sleep 600'"
	}
	for name, c := range map[string]struct {
		mounted string // uuid
		conmons []fakeConmon
		want    string
	}{
		"one":                       {"", []fakeConmon{{id: webID, name: "web", watched: []string{in(uuid, webID)}}}, "web"},
		"of several namespaces":     {"", []fakeConmon{{id: webID, name: "web", watched: []string{in(uuid, webID)}}, {id: dbID, name: "db", watched: []string{in("other", dbID)}}}, "web"},
		"with one that has joined":  {"", []fakeConmon{{id: webID, name: "web", watched: []string{in(uuid, webID)}}, {id: dbID, name: "db", watched: []string{in(uuid, webID)}}}, "web"},
		"only one that has joined":  {"", []fakeConmon{{id: dbID, name: "db", watched: []string{in(uuid, webID)}}}, ""},
		"with another process":      {"", []fakeConmon{{id: webID, name: "web", watched: []string{in(uuid, webID)}}, {id: webID, name: "web", watched: []string{in(uuid, webID)}}}, "web"},
		"two that say so":           {"", []fakeConmon{{id: webID, name: "web", watched: []string{in(uuid, webID)}}, {id: dbID, name: "db", watched: []string{in(uuid, dbID)}}}, ""},
		"none":                      {"", []fakeConmon{{id: dbID, name: "db", watched: []string{in("other", dbID)}}}, ""},
		"of another user":           {"", []fakeConmon{{id: webID, name: "web", uid: 1001, watched: []string{in(uuid, webID)}}}, ""},
		"files of no container":     {"", []fakeConmon{{id: webID, name: "web", watched: []string{"nsenter --net=$DIR/" + uuid + " /bin/sh -c 'echo; exec sleep 600'"}}}, ""},
		"a namespace of the user's": {"mine", []fakeConmon{{id: webID, name: "web", watched: []string{in("mine", webID)}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if !testbed.Isolated(t) {
				return
			}
			b := newBed(t)
			mounted := c.mounted
			if mounted == "" {
				mounted = uuid
			}
			for _, path := range []string{webID + "/hosts", dbID + "/hosts", mounted, "other"} {
				path = filepath.Join(b.dir, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{mounted, "other"} {
				if out, err := exec.Command("unshare", "--net="+filepath.Join(b.dir, name), "true").CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				t.Cleanup(func() { _ = unix.Unmount(filepath.Join(b.dir, name), unix.MNT_DETACH) }) // it ends with the namespace
			}
			f, err := os.Open(filepath.Join(b.dir, mounted))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			b.start(t, "bin/pasta", forwardScript, nil, []*os.File{f}, false, "1000")
			for _, m := range c.conmons {
				for i, command := range m.watched {
					m.watched[i] = strings.ReplaceAll(command, "$DIR", b.dir)
				}
				b.startConmon(t, m)
			}
			if got := served(t); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
