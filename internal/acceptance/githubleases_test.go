//go:build linux

package acceptance

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
)

// TestGitHubLeases runs the steps of two jobs at the same time, on two runners of one
// machine, and the action's steps at the end of both.
func TestGitHubLeases(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	first := freePorts(t, 1)[0]
	app := "shop-" + strings.TrimPrefix(v.image, "portcheck-acceptance:")
	text := fmt.Sprintf("version: 1\napp: %s\nrange: %d-%d\nports:\n%s", app, first, first+50, need("web", first, ""))
	run := func(runner, command string, post, more map[string]string) outcome {
		inputs := map[string]string{"command": command}
		for name, value := range more {
			inputs[name] = value
		}
		return step{
			image: v.image, manifest: text, inputs: inputs, post: post,
			flags: []string{"-e", "GITHUB_RUN_ID=7", "-e", "GITHUB_RUN_ATTEMPT=1", "-e", "GITHUB_JOB=e2e", "-e", "RUNNER_NAME=" + runner + app},
		}.run(t).want(t, 0)
	}
	got, state := map[string]uint16{}, map[string]map[string]string{}
	for _, runner := range []string{"a", "b"} {
		o := run(runner, "assign", nil, map[string]string{"export-env": "true"})
		var ports []check.AssignedPort
		if err := json.Unmarshal([]byte(o.outputs["ports"]), &ports); err != nil || len(ports) != 1 || o.outputs["ok"] != "true" {
			t.Fatalf("%v: %v\n%s", o.outputs, err, o)
		}
		p := ports[0]
		if p.Name != "web" || p.Target != "runner" || o.env["WEB_PORT"] != fmt.Sprint(p.Port) || o.env["PORTCHECK_JOB"] != o.state["portcheck_job"] || o.env["PORTCHECK_JOB"] == "" {
			t.Errorf("%+v, variables %v, state %v", p, o.env, o.state)
		}
		if !strings.Contains(o.summary, fmt.Sprintf("| %s/web | %d/tcp |", app, p.Port)) {
			t.Errorf("summary:\n%s", o.summary)
		}
		got[runner], state[runner] = p.Port, o.state
	}
	if got["a"] != uint16(first) || got["b"] == got["a"] {
		t.Fatalf("ports %v, want %d and another one", got, first)
	}
	// The job's own port is free, also for check, and is served after the start.
	run("a", "check", nil, nil)
	listen(t, nil, fmt.Sprint(got["b"]))
	run("b", "verify", nil, nil).status(t, "web", check.Listening)
	for _, runner := range []string{"a", "b"} {
		o := run(runner, "assign", state[runner], nil)
		if want := fmt.Sprintf("portcheck: released %d/tcp", got[runner]); !strings.Contains(o.stderr, want) || strings.Contains(o.stdout+o.stderr, "::") {
			t.Errorf("no %q\n%s", want, o)
		}
	}
	v.noKeepers(t, "after the jobs")
}
