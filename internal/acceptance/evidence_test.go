//go:build linux

package acceptance

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/org/portcheck/check"
)

// TestBasicEvidence checks that the verdict is the same with basic evidence, but
// without names.
func TestBasicEvidence(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 2)
	pid, executable := listen(t, nil, fmt.Sprint(p[0]))
	var traffic recorder
	socket := filepath.Join(temp(t), "docker.sock")
	relay(t, socket, engineSocket, &traffic)
	o := step{
		image: v.image, socket: socket,
		manifest: manifest(need("web", p[0], ""), need("spare", p[1], "")),
		inputs:   map[string]string{"evidence": "basic"},
	}.run(t).want(t, 1)
	// Without a PidMode. Answers about other helpers may have one.
	if !traffic.has(`"HostConfig":{"NetworkMode":"host","UsernsMode":"host","CapDrop":["ALL"],"CapAdd":["NET_BIND_SERVICE"],"SecurityOpt"`) {
		t.Error("the helper has rights besides NET_BIND_SERVICE")
	}
	if target := o.target(t); target.Namespace.Kind != "host" {
		t.Errorf("namespace %+v", target.Namespace)
	}
	web := o.status(t, "web", check.InUse)
	for _, h := range web.Holders {
		if h.PID != 0 || h.Process != "" || h.Executable != "" {
			t.Errorf("the holder is named: %+v", h)
		}
	}
	for _, secret := range []string{executable, fmt.Sprintf("pid %d", pid)} {
		if strings.Contains(o.stdout, secret) {
			t.Errorf("the output has %q\n%s", secret, o)
		}
	}
	if why := degraded(web.Notices, o.target(t).Notices); !strings.Contains(why, "evidence: basic") {
		t.Errorf("degraded: %q", why)
	}
	o.status(t, "spare", check.Free)
}

// recorder keeps the traffic between a step and the engine.
type recorder struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *recorder) has(word string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Contains(r.text.Bytes(), []byte(word))
}

// TestSecretsStay checks that nothing of a process's environment leaves the helper but
// the name of the job in it, and nothing of its command line without show-command.
func TestSecretsStay(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 1)
	inArguments, inEnvironment := "arg"+rand.Text(), "env"+rand.Text()
	pid, _ := listen(t, []string{"TOKEN=" + inEnvironment, "GITHUB_ACTIONS=true", "GITHUB_RUN_ID=123", "GITHUB_JOB=e2e", "GITHUB_TOKEN=" + inEnvironment}, fmt.Sprint(p[0]), "--", "--password="+inArguments)
	for show, shown := range map[string]bool{"false": false, "true": true} {
		t.Run("show-command "+show, func(t *testing.T) {
			var traffic recorder
			socket := filepath.Join(temp(t), "docker.sock")
			relay(t, socket, engineSocket, &traffic)
			o := step{
				image: v.image, socket: socket,
				manifest: manifest(need("web", p[0], "")),
				inputs:   map[string]string{"show-command": show, "output": "json=report.json"},
			}.run(t).want(t, 1)
			h := holder(t, o.status(t, "web", check.InUse))
			if h.PID != pid || !traffic.has(fmt.Sprint(pid)) {
				t.Fatalf("holder %+v, want pid %d; recorded: %v", h, pid, traffic.has(fmt.Sprint(pid)))
			}
			if h.From().Job == nil || h.From().Job.Text != "run 123 of job e2e" || h.From().Job.Own {
				t.Errorf("the job of the process: %+v", h.From().Job)
			}
			said := o.stdout + o.stderr + o.summary + fmt.Sprint(o.outputs) + read(t, filepath.Join(o.workspace, "report.json"))
			if got := slices.Contains(h.Command, "--password="+inArguments); got != shown || strings.Contains(said, inArguments) != shown {
				t.Errorf("the command line: %q\n%s", h.Command, o)
			}
			if traffic.has(inArguments) != shown {
				t.Errorf("the command line leaves the helper: %v, want %v", !shown, shown)
			}
			if strings.Contains(said, inEnvironment) || traffic.has(inEnvironment) {
				t.Error("the environment leaves the helper")
			}
		})
	}
}
