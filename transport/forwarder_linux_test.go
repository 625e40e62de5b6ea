package transport

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// A file that is named like an engine's forwarder makes no process one, and neither
// does running the machine's own as another user.
func TestForgedForwarder(t *testing.T) {
	const listen = `
import socket, time
s = socket.socket()
s.bind(("127.0.0.1", 8080))
s.listen()
print("ready", flush=True)
time.sleep(600)`
	const nobody = 65534
	for _, c := range []struct {
		name string
		own  int // the user that the directory and, unless link is set, the file belong to
		link bool
		mode os.FileMode
		uid  int
		bind string // a path over which the user mounts the file, in a namespace of his own
		want check.Status
	}{
		{name: "his own file", own: nobody, mode: 0o755, uid: nobody, want: check.InUse},
		{name: "his own file, run by root", own: nobody, mode: 0o755, want: check.InUse},
		{name: "root's file that others may write", mode: 0o757, want: check.InUse},
		{name: "root's file, run by another user", mode: 0o755, uid: nobody, want: check.InUse},
		{name: "root's file in his own directory", own: nobody, link: true, mode: 0o755, want: check.InUse},
		{name: "his own file over root's", own: nobody, mode: 0o755, uid: nobody, bind: "/usr/sbin/docker-proxy", want: check.InUse},
		{name: "root's file, run by root", mode: 0o755, want: check.Owned},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !testbed.Isolated(t) {
				return
			}
			testbed.NeedUsers(t)
			dir, err := os.MkdirTemp("", "forwarder-") // t.TempDir is readable by root alone
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) }) // in a temporary directory
			path := filepath.Join(dir, "docker-proxy")
			code, err := os.ReadFile("/usr/bin/python3")
			if err != nil {
				testbed.Missing(t, err.Error())
			}
			owner := c.own
			if c.link {
				owner = 0
			}
			for _, err := range []error{
				os.WriteFile(path, code, c.mode), os.Chmod(path, c.mode), os.Chmod(dir, 0o755), os.Chown(path, owner, owner), os.Chown(dir, c.own, c.own),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			words := []string{path, "-c", listen}
			if c.bind != "" {
				if _, err := os.Stat(c.bind); err != nil {
					testbed.Missing(t, err.Error())
				}
				words = []string{"unshare", "-Urm", "sh", "-ec", `mount --bind "$0" "$1"; exec "$1" -c "$2"`, path, c.bind, listen}
			}
			if _, line := testbed.StartWith(t, func(cmd *exec.Cmd) {
				cmd.Env = append(os.Environ(), "PYTHONHOME=/usr")
				cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.uid), Gid: uint32(c.uid)}
			}, words[0], words[1:]...); line != "ready" {
				t.Fatal(line)
			}
			// The engine has forwarded the port of shop-web-1 without a process.
			env := play(t, func(w http.ResponseWriter, r *http.Request) { write(answer)(w, r) })
			need := check.Need{Target: "local", Port: config.Port{
				Name: "web", Ports: port.One(8080), Protocols: []port.Protocol{port.TCP}, Addresses: []port.Address{"127.0.0.1"}, Expect: config.Free,
				Owner: []config.Owner{{Container: "shop-web-1"}},
			}}
			local := check.Target{Name: "local", Open: func(context.Context) (host.Host, error) {
				return withEngine(host.Local{}, Options{Env: env}), nil
			}}
			report, err := check.Run(t.Context(), []check.Need{need}, []check.Target{local}, check.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if r := report.Results[0]; r.Status != c.want {
				t.Errorf("%s, want %s: %s %+v", r.Status, c.want, r.Message, r.Notices)
			}
		})
	}
}
