//go:build linux

package acceptance

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

const (
	engineSocket  = "/var/run/docker.sock"
	deadlineLabel = "io.github.org.portcheck.deadline"
	variantLabel  = "io.github.org.portcheck.acceptance" // on images and containers of a single test
	sweepGrace    = 15 * time.Second
	patience      = 60 * time.Second // bounds waits that take a second or two on an idle machine
)

// scratch is a directory for programs that several tests use.
var scratch string

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

// runAll runs the tests and fails if they leave anything on the engine.
func runAll(m *testing.M) int {
	flag.Parse() // for testing.Short
	if testing.Short() || os.Getenv("PORTCHECK_IMAGE") == "" {
		return m.Run()
	}
	before, err := inventory()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if scratch, err = os.MkdirTemp("", "acceptance"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	_, _ = try("image", "rm", serverName) // it exists only if a test has used it
	if err := os.RemoveAll(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	after, err := inventory()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for what := range after {
		if !before[what] {
			fmt.Fprintf(os.Stderr, "left behind: %s\n", what)
			code = 1
		}
	}
	for what := range before {
		if !after[what] {
			fmt.Fprintf(os.Stderr, "no longer there: %s\n", what)
			code = 1
		}
	}
	return code
}

// inventory returns all containers and images of the engine.
func inventory() (map[string]bool, error) {
	all := map[string]bool{}
	for what, args := range map[string][]string{
		"container": {"ps", "-a", "-q", "--no-trunc"},
		"image":     {"images", "-q", "--no-trunc"},
	} {
		out, err := try(args...)
		if err != nil {
			return nil, err
		}
		for _, id := range strings.Fields(out) {
			all[what+" "+id] = true
		}
	}
	return all, nil
}

// imageUnderTest returns the name of the image under test. Every test of this
// package calls it first.
func imageUnderTest(t *testing.T) string {
	t.Helper()
	testbed.Slow(t, "needs a container engine")
	name := os.Getenv("PORTCHECK_IMAGE")
	if name == "" {
		testbed.Missing(t, "set PORTCHECK_IMAGE to an image built from the Dockerfile")
	}
	testbed.NeedRoot(t)
	if _, err := exec.LookPath("docker"); err != nil {
		testbed.Missing(t, err.Error())
	}
	return name
}

// try runs docker's client and returns its stdout.
func try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("docker %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(string(out)), err
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// variant is the image under test with a label for one test. Helpers are started
// from their action's image, so that the label identifies this test's helpers.
type variant struct {
	image, label string
}

func newVariant(t *testing.T) variant {
	t.Helper()
	id := strings.ToLower(rand.Text()[:12])
	v := variant{"portcheck-acceptance:" + id, variantLabel + "=" + id}
	made := docker(t, "create", imageUnderTest(t))
	t.Cleanup(func() {
		for _, id := range v.containers(t) {
			t.Errorf("left behind: %s", docker(t, "inspect", "--format", "{{.Name}} {{.State.Status}} {{.Path}} {{.Args}}", id))
			docker(t, "rm", "-f", id)
		}
		docker(t, "image", "rm", v.image)
	})
	docker(t, "commit", "--change", "LABEL "+v.label, made, v.image)
	docker(t, "rm", made)
	return v
}

// containers returns the IDs of the containers of the image, running or not, that
// match the filters.
func (v variant) containers(t *testing.T, filters ...string) []string {
	t.Helper()
	args := []string{"ps", "-a", "-q", "--no-trunc", "--filter", "label=" + v.label}
	for _, f := range filters {
		args = append(args, "--filter", f)
	}
	return strings.Fields(docker(t, args...))
}

// helpers returns the IDs of the image's helper containers.
func (v variant) helpers(t *testing.T, filters ...string) []string {
	t.Helper()
	return v.containers(t, append(filters, "label="+deadlineLabel)...)
}

// creations returns how many helpers and other containers of the image were
// created since a time.
func (v variant) creations(t *testing.T, since time.Time) (helpers, others int) {
	t.Helper()
	out := docker(t, "events", "--since", unixNano(since), "--until", unixNano(time.Now()),
		"--filter", "type=container", "--filter", "event=create", "--filter", "label="+v.label, "--format", "{{json .Actor.Attributes}}")
	for line := range strings.Lines(out) {
		var attributes map[string]string
		if err := json.Unmarshal([]byte(line), &attributes); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if _, helper := attributes[deadlineLabel]; helper {
			helpers++
		} else {
			others++
		}
	}
	return helpers, others
}

func unixNano(at time.Time) string {
	return fmt.Sprintf("%d.%09d", at.Unix(), at.Nanosecond())
}

// server is the source of a program that listens on the ports of its arguments,
// up to an argument "--".
const server = `package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

func main() {
	for _, number := range os.Args[1:] {
		if number == "--" {
			break
		}
		l, err := net.Listen("tcp", ":"+number)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		defer l.Close()
	}
	fmt.Println("ready")
	time.Sleep(time.Hour)
}
`

var serverBinary = sync.OnceValues(func() (string, error) {
	if scratch == "" {
		return "", errors.New("nothing is started without an image to test")
	}
	source, binary := filepath.Join(scratch, "main.go"), filepath.Join(scratch, "server")
	if err := os.WriteFile(source, []byte(server), 0o600); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", binary, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
})

// serverImage creates an image with the server as its only file.
var serverImage = sync.OnceValues(func() (string, error) {
	binary, err := serverBinary()
	if err != nil {
		return "", err
	}
	code, err := os.ReadFile(binary)
	if err != nil {
		return "", err
	}
	layer, err := testbed.Layer("server", code)
	file := filepath.Join(scratch, "layer.tar")
	if err == nil {
		err = os.WriteFile(file, layer, 0o600)
	}
	if err != nil {
		return "", err
	}
	_, err = try("import", file, serverName)
	return serverName, err
})

var serverName = fmt.Sprintf("portcheck-acceptance-server:%d", os.Getpid())

// listen starts a process on the machine that holds ports. It returns the PID and
// the executable. Arguments after "--" only show in the command line.
func listen(t *testing.T, env []string, args ...string) (int, string) {
	t.Helper()
	binary, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd, line := testbed.StartWith(t, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), env...) }, binary, args...)
	if line != "ready" {
		t.Fatal(line)
	}
	return cmd.Process.Pid, binary
}

// serve starts a container that holds ports in its own namespace and returns its
// ID. options are options of docker create.
func serve(t *testing.T, options []string, ports ...int) string {
	t.Helper()
	image, err := serverImage()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"create"}, options...)
	args = append(args, image, "/server")
	for _, p := range ports {
		args = append(args, strconv.Itoa(p))
	}
	id := docker(t, args...)
	t.Cleanup(func() { docker(t, "rm", "-f", id) })
	docker(t, "start", id)
	for deadline := time.Now().Add(patience); docker(t, "logs", id) != "ready"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v is not ready", options)
		}
	}
	return id
}

// freePorts returns ports that are free on the machine and outside of the
// ephemeral range.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		p := 10000 + mathrand.IntN(20000)
		if slices.Contains(ports, p) {
			continue
		}
		if err := bindable(p); err == nil {
			ports = append(ports, p)
		} else if tries > 100 {
			t.Fatal(err)
		}
	}
	return ports
}

// bindable returns the error of listening on a port of the machine.
func bindable(port int) error {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err == nil {
		err = l.Close()
	}
	return err
}

// temp creates a directory that any user can enter. Its name is short enough for
// sockets.
func temp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "acc")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
