//go:build linux

package acceptance

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/check"
)

// TestNoHelperOnTheHost checks that no helper is started if the step itself is in
// the host's network and PID namespaces.
func TestNoHelperOnTheHost(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 1)
	pid, _ := listen(t, nil, fmt.Sprint(p[0]))
	s := step{image: v.image, manifest: manifest(need("web", p[0], ""))}
	onHost := []string{"--network", "host", "--pid", "host"}
	// If the engine runs in a PID namespace of its own, --pid=host means that one.
	// Nothing proves then that the step sees all processes, so a helper is needed.
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	nested := 0
	if ns != "pid:[4026531836]" { // PROC_PID_INIT_INO
		nested = 1
	}
	for name, c := range map[string]struct {
		flags   []string
		helpers int
		named   bool
	}{
		"in a bridge network":                 {nil, 1, true},
		"on the host":                         {onHost, nested, nested > 0},
		"on the host, with the right to look": {append(onHost, "--cap-add", "SYS_PTRACE", "--cap-add", "DAC_READ_SEARCH"), nested, true},
	} {
		t.Run(name, func(t *testing.T) {
			s.flags = c.flags
			since := time.Now()
			o := s.run(t).want(t, 1)
			if helpers, others := v.creations(t, since); helpers != c.helpers || others != 1 {
				t.Errorf("%d helpers and %d others are created, want %d and the step", helpers, others, c.helpers)
			}
			target := o.target(t)
			if target.Namespace.Kind != "host" || target.Namespace.Reason == "" {
				t.Errorf("namespace %+v", target.Namespace)
			}
			r := o.status(t, "web", check.InUse)
			switch h := holder(t, r); {
			case c.named && h.PID != pid:
				t.Errorf("holder %+v, want pid %d", h, pid)
			case !c.named && h.PID != 0, !c.named && degraded(r.Notices, target.Notices) == "":
				// Docker's default capabilities don't suffice for other processes.
				t.Errorf("holder %+v; notices %+v, %+v", h, r.Notices, target.Notices)
			}
		})
	}
}

// TestTargetsByName checks the targets local, which is the action's own container,
// and container:NAME.
func TestTargetsByName(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 2)
	listen(t, nil, fmt.Sprint(p[0]))
	name := fmt.Sprintf("acceptance-other-%d", p[1])
	other := serve(t, []string{"--name", name}, p[1])
	s := step{image: v.image, manifest: manifest(need("host", p[0], ""), need("other", p[1], ""))}

	s.inputs = map[string]string{"target": "local"}
	since := time.Now()
	o := s.run(t).want(t, 0)
	if helpers, _ := v.creations(t, since); helpers != 0 {
		t.Errorf("local: %d helpers", helpers)
	}
	if target := o.target(t); target.Name != "local" || target.Namespace.Kind != "container" {
		t.Errorf("local: %+v", target)
	}
	o.status(t, "host", check.Free)
	o.status(t, "other", check.Free)

	s.inputs = map[string]string{"target": "container:" + name}
	o = s.run(t).want(t, 1)
	if target := o.target(t); target.Name != "container:"+name || target.Namespace.Kind != "container" {
		t.Errorf("container: %+v", target)
	}
	o.status(t, "host", check.Free)
	if h := holder(t, o.status(t, "other", check.InUse)); h.Process != "server" || h.PID == 0 || h.Container == nil || h.Container.ID != other || h.Container.Name != name {
		t.Errorf("container: holder %+v in %+v", h, h.Container)
	}
}

// TestNoSuchContainer checks the error for a container that is missing or halted.
func TestNoSuchContainer(t *testing.T) {
	t.Parallel()
	image := imageUnderTest(t)
	p := freePorts(t, 1)
	halted := docker(t, "create", image)
	t.Cleanup(func() { docker(t, "rm", halted) })
	for target, want := range map[string]string{
		"container:nobody-has-this": `has no container "nobody-has-this"`,
		"container:" + halted:       "is not running",
	} {
		t.Run(want, func(t *testing.T) {
			o := step{image: image, inputs: map[string]string{"port": fmt.Sprint(p[0]), "target": target}}.run(t).want(t, 3)
			o.reason(t, want)
		})
	}
}

// reason fails the test unless all results are unknown, and the annotations and the
// report have these words.
func (o outcome) reason(t *testing.T, words ...string) {
	t.Helper()
	annotations := ""
	for line := range strings.Lines(o.stdout + o.stderr) {
		if strings.HasPrefix(line, "::error ") {
			annotations += line
		}
	}
	if annotations == "" {
		t.Errorf("nothing is annotated\n%s", o)
	}
	messages := ""
	for _, r := range o.report.Results {
		if r.Status != check.Unknown {
			t.Errorf("%s is %s", r.Name, r.Status)
		}
		messages += r.Message + "\n"
	}
	if strings.Count(messages, "\n") != len(o.report.Results) || messages == "" {
		t.Errorf("want one line for each result:\n%s", messages)
	}
	for _, w := range words {
		if !strings.Contains(messages, w) {
			t.Errorf("no %q in the report:\n%s", w, messages)
		}
		if !strings.Contains(annotations, w) {
			t.Errorf("no %q in the annotations:\n%s", w, annotations)
		}
	}
}

// TestStepsAtOnce runs two steps at the same time on one engine, like two runners
// on one machine.
func TestStepsAtOnce(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 2)
	pid, _ := listen(t, nil, fmt.Sprint(p[0]))
	for range 2 {
		since := time.Now()
		steps := []*step{{}, {}}
		for _, s := range steps {
			*s = step{
				image:    v.image,
				manifest: manifest(need("web", p[0], ""), need("spare", p[1], "")),
				inputs:   map[string]string{"wait": "5s"}, // a busy engine starts them seconds apart,
			}
			s.start(t)
		}
		together := false
		for deadline := time.Now().Add(patience); !together; time.Sleep(10 * time.Millisecond) {
			together = len(v.helpers(t, "status=running")) == len(steps)
			if time.Now().After(deadline) {
				break
			}
			if len(v.containers(t)) == 0 && time.Since(since) > 5*time.Second {
				break
			}
		}
		if !together {
			t.Error("the helpers were never there at the same time")
		}
		for _, s := range steps {
			o := s.wait(t).want(t, 1)
			if h := holder(t, o.status(t, "web", check.InUse)); h.PID != pid {
				t.Errorf("holder %+v, want pid %d", h, pid)
			}
			o.status(t, "spare", check.Free)
		}
		if helpers, others := v.creations(t, since); helpers != len(steps) || others != len(steps) {
			t.Errorf("%d helpers and %d others are created, want two of each", helpers, others)
		}
		if left := v.helpers(t); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// TestSweep checks that a step removes a helper that was never started after its
// deadline, and not before.
func TestSweep(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 1)
	create := func(deadline time.Time) string {
		id := docker(t, "create", "--rm", "--name", helperName(), "--label", fmt.Sprintf("%s=%d", deadlineLabel, deadline.Unix()),
			"--entrypoint", "/usr/local/bin/portcheck", v.image, "probe", "--confine", "--for", "1m0s")
		t.Cleanup(func() { _, _ = try("rm", "-f", id) }) // the sweep removes some
		return id
	}
	expired, young := create(time.Now().Add(-30*time.Second)), create(time.Now().Add(time.Hour))
	bystander := docker(t, "create", imageUnderTest(t))
	t.Cleanup(func() { docker(t, "rm", bystander) })
	step{image: v.image, inputs: map[string]string{"port": fmt.Sprint(p[0])}}.run(t).want(t, 0)
	if left := v.helpers(t); len(left) != 1 || left[0] != young {
		t.Errorf("left: %v; want %s alone, of which %s has expired", left, young, expired)
	}
	docker(t, "rm", young)
}

// helperName returns a name like those that portcheck gives to helpers.
func helperName() string { return "portcheck-" + strings.ToLower(rand.Text()[:12]) }
