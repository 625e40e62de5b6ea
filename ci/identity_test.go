package ci

import (
	"maps"
	"testing"
)

// Each variable of an identity matters, and nothing else does.
func TestIdentity(t *testing.T) {
	for _, s := range systems {
		names := identities[s.name]
		if s.set == "CI" {
			continue // unknown systems
		}
		if len(names) == 0 {
			t.Errorf("%s has no identity", s.name)
			continue
		}
		env := Env{s.set: "true", "PATH": "/bin"}
		if got := Identity(env); s.set != names[0] && got != "" {
			t.Errorf("%s without %s: got %q", s.name, names[0], got)
		}
		for _, name := range names {
			env[name] = "1"
		}
		first := Identity(env)
		if first == "" {
			t.Errorf("%s: none", s.name)
		}
		step := maps.Clone(env)
		step["PATH"] = "/usr/bin"
		if got := Identity(step); got != first {
			t.Errorf("%s: another step is %q, want %q", s.name, got, first)
		}
		for _, name := range names {
			other := maps.Clone(env)
			other[name] = "2"
			if Identity(other) == first {
				t.Errorf("%s: jobs with another %s are %q, too", s.name, name, first)
			}
		}
	}
	a := Env{"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "1", "GITHUB_JOB": "a", "RUNNER_NAME": "b/c"}
	b := Env{"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "1", "GITHUB_JOB": "a/b", "RUNNER_NAME": "c"}
	if Identity(a) == Identity(b) {
		t.Errorf("two jobs are %q", Identity(a))
	}
	if got := Identity(Env{"CI": "true", "GITHUB_RUN_ID": "1"}); got != "" {
		t.Errorf("an unknown system: got %q", got)
	}
}
