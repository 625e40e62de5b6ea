package ci

import (
	"maps"
	"testing"
	"time"
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

func TestTimeLeft(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	gitlab := func(started, timeout string) Env {
		return Env{"GITLAB_CI": "true", "CI_JOB_STARTED_AT": started, "CI_JOB_TIMEOUT": timeout}
	}
	for _, c := range []struct {
		env  Env
		want time.Duration
	}{
		{gitlab("2026-01-02T11:50:00Z", "3600"), 50 * time.Minute},
		{gitlab("2026-01-02T12:50:00+01:00", "3600"), 50 * time.Minute},
		{gitlab("2026-01-02T10:00:00Z", "3600"), 0},
		{gitlab("yesterday", "3600"), 0},
		{gitlab("2026-01-02T11:50:00Z", "-1"), 0},
		{gitlab("2026-01-02T11:50:00Z", "99999999999"), 0},
		{Env{"CI_JOB_STARTED_AT": "2026-01-02T11:50:00Z", "CI_JOB_TIMEOUT": "3600"}, 0},
		{Env{"GITHUB_ACTIONS": "true"}, 0},
	} {
		if got := TimeLeft(c.env, now); got != c.want {
			t.Errorf("%v: %s, want %s", c.env, got, c.want)
		}
	}
}
