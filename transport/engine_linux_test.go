package transport

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// server is the program in the container. It listens on a port.
const server = `package main

import (
	"net"
	"os"
)

func main() {
	l, err := net.Listen("tcp", ":"+os.Args[1])
	if err != nil {
		panic(err)
	}
	println("ready")
	for {
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	}
}
`

// TestDocker checks the names of containers with a real engine in its own network
// namespace. They publish a port, or hold one in that namespace.
func TestDocker(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	testbed.NeedUsers(t)
	docker := startDocker(t)
	image(t, docker)
	docker(t, "run", "-d", "--name", "shop-web", "-p", "127.0.0.1:18080:80",
		"--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=web", "example/web:1", "/server", "80")
	docker(t, "run", "-d", "--name", "shop-host", "--network", "host", "example/web:1", "/server", "18081")
	env := map[string]string{"DOCKER_HOST": docker(t, "address")}
	id := map[string]string{}
	for _, name := range []string{"shop-web", "shop-host"} {
		await(t, docker, name)
		id[name] = docker(t, "inspect", "--format", "{{.Id}}", name)
	}

	for name, c := range map[string]struct {
		port    uint16
		owner   config.Owner
		env     map[string]string
		status  check.Status
		process string
		want    check.Container
	}{
		"published": {18080, config.Owner{}, env, check.InUse, "docker-proxy", check.Container{
			ID: id["shop-web"], Name: "shop-web", Image: "example/web:1", Compose: "shop/web",
		}},
		"published, owner": {18080, config.Owner{Container: "shop-*", Image: "example/web:*", Compose: "shop/web"}, env, check.Owned, "docker-proxy", check.Container{
			ID: id["shop-web"], Name: "shop-web", Image: "example/web:1", Compose: "shop/web",
		}},
		"published, owner's ID": {18080, config.Owner{Container: id["shop-web"][:12]}, env, check.Owned, "docker-proxy", check.Container{
			ID: id["shop-web"], Name: "shop-web", Image: "example/web:1", Compose: "shop/web",
		}},
		"published, another owner": {18080, config.Owner{Container: "payment-*"}, env, check.InUse, "docker-proxy", check.Container{
			ID: id["shop-web"], Name: "shop-web", Image: "example/web:1", Compose: "shop/web",
		}},
		"published, no engine":        {18080, config.Owner{}, nil, check.InUse, "docker-proxy", check.Container{}},
		"published, owner, no engine": {18080, config.Owner{Container: "shop-*"}, nil, check.Unknown, "docker-proxy", check.Container{}},
		"inside":                      {18081, config.Owner{Container: "shop-host"}, env, check.Owned, "server", check.Container{ID: id["shop-host"], Name: "shop-host", Image: "example/web:1"}},
		"inside, no engine":           {18081, config.Owner{}, nil, check.InUse, "server", check.Container{ID: id["shop-host"]}},
	} {
		t.Run(name, func(t *testing.T) {
			need := check.Need{Target: "local", Port: config.Port{
				Name: "web", Ports: port.One(c.port), Protocols: []port.Protocol{port.TCP}, Addresses: []port.Address{"127.0.0.1"}, Expect: config.Free,
			}}
			if c.owner != (config.Owner{}) {
				need.Owner = []config.Owner{c.owner}
			}
			missing := c.env == nil
			if missing {
				c.env = map[string]string{"DOCKER_HOST": "unix://" + t.TempDir() + "/docker.sock"}
			}
			local := check.Target{Name: "local", Open: func(context.Context) (host.Host, error) {
				return withEngine(host.Local{}, Options{Env: c.env}), nil
			}}
			report, err := check.Run(t.Context(), []check.Need{need}, []check.Target{local}, check.Options{})
			if err != nil {
				t.Fatal(err)
			}
			r := report.Results[0]
			if r.Status != c.status || len(r.Holders) != 1 || r.Holders[0].Process != c.process {
				t.Fatalf("%s: %s; holders %+v", r.Status, r.Message, r.Holders)
			}
			got := check.Container{}
			if r.Holders[0].Container != nil {
				got = *r.Holders[0].Container
				if got.Engine != "docker" {
					t.Errorf("engine %q", got.Engine)
				}
				got.Engine = ""
			}
			if got != c.want {
				t.Errorf("container %+v, want %+v", got, c.want)
			}
			if !missing && !strings.Contains(r.Message, "container "+c.want.Name) {
				t.Errorf("message %q", r.Message)
			}
			degraded := ""
			for _, n := range r.Notices {
				if n.Code == config.Degraded {
					degraded += n.Message
				}
			}
			if missing != strings.Contains(degraded, "docker.sock can't be queried (connect: ENOENT)") {
				t.Errorf("degraded: %q", degraded)
			}
		})
	}
}

// startDocker starts an engine with directories of its own, and returns its
// client: `docker ARGS`, or "address" for the address of its socket.
func startDocker(t *testing.T) func(t *testing.T, args ...string) string {
	t.Helper()
	for _, name := range []string{"docker", "dockerd", "docker-proxy", "iptables"} {
		if _, err := exec.LookPath(name); err != nil {
			testbed.Missing(t, fmt.Sprintf("needs docker.io and iptables: %v", err))
		}
	}
	dir, err := os.MkdirTemp("", "docker") // t.TempDir may be too long for containerd's sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Unmount(dir+"/exec/netns/default", syscall.MNT_DETACH) // of containers in this namespace; the engine leaves it
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	address := "unix://" + dir + "/docker.sock"
	var said bytes.Buffer
	daemon := exec.Command("dockerd", "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid", "-H", address)
	daemon.Stdout, daemon.Stderr = &said, &said
	daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	client := func(t *testing.T, args ...string) string {
		t.Helper()
		if args[0] == "address" {
			return address
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, "docker", append([]string{"-H", address}, args...)...)
		cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = daemon.Process.Kill() // and the namespace ends the rest
			<-ended
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("unix", dir+"/docker.sock"); err == nil {
			c.Close()
			return client
		}
		select {
		case err := <-ended:
			ended <- err
			testbed.Missing(t, fmt.Sprintf("dockerd ended: %v\n%s", err, said.String()))
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("dockerd was not ready within 30 s")
		}
	}
}

// image creates example/web:1 from one static binary.
func image(t *testing.T, docker func(t *testing.T, args ...string) string) {
	t.Helper()
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "server")
	if err := os.WriteFile(source, []byte(server), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", binary, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	code, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := testbed.Layer("server", code)
	file := filepath.Join(dir, "layer.tar")
	if err == nil {
		err = os.WriteFile(file, layer, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	docker(t, "import", file, "example/web:1")
}

// await waits until the server in a container listens. It does not connect to
// the port, where a closed connection would be visible for a moment.
func await(t *testing.T, docker func(t *testing.T, args ...string) string, name string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); docker(t, "logs", name) != "ready"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready", name)
		}
	}
}
