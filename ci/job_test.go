package ci

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestInputs(t *testing.T) {
	env := Env{"INPUT_FAIL-ON": " warning\n", "INPUT_MANIFEST": "a.yml\n\n  deploy/*.yml  \r\nb.yml"}
	if got := Input(env, "fail-on"); got != "warning" {
		t.Errorf("fail-on: %q", got)
	}
	if got := Input(env, "wait"); got != "" {
		t.Errorf("an input that is not set: %q", got)
	}
	if got := Lines(env, "manifest"); !slices.Equal(got, []string{"a.yml", "deploy/*.yml", "b.yml"}) {
		t.Errorf("manifest: %q", got)
	}
}

func TestMask(t *testing.T) {
	var b strings.Builder
	Mask(&b, " seven..\neight...\r\n\n  100% of it  \nlast line")
	if got, want := b.String(), "::add-mask::eight...\n::add-mask::100%25 of it\n::add-mask::last line\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReadJob(t *testing.T) {
	for _, c := range []struct {
		env  Env
		want string
	}{
		{Env{}, ""},
		{Env{"GITHUB_ACTIONS": "true", "CI": "true"}, ""},
		{Env{"GITLAB_CI": "true", "CI": "true"}, "GitLab"},
		{Env{"JENKINS_URL": "http://jenkins/"}, "Jenkins"},
		{Env{"CI": "true"}, "a CI system"},
		{Env{"CI": "True"}, "a CI system"}, // AppVeyor on Windows
		{Env{"CI": "woodpecker"}, "a CI system"},
		{Env{"CI": "false"}, ""},
		{Env{"CI": "0"}, ""},
		{Env{"CI": ""}, ""},
		{Env{"TF_BUILD": "True"}, "Azure Pipelines"},
		{Env{"TEAMCITY_VERSION": "2025.07"}, "TeamCity"},
	} {
		if got := ReadJob(c.env).System; got != c.want {
			t.Errorf("%v: %q, want %q", c.env, got, c.want)
		}
		if got := Running(c.env); got != (c.want != "" || GitHub(c.env)) {
			t.Errorf("%v: running: %t", c.env, got)
		}
	}
}

func TestReadActionJob(t *testing.T) {
	job, err := ReadActionJob(Env{
		"INPUT_JOB-CONTAINER": "c1",
		"INPUT_JOB-SERVICES":  `{"redis": {"id": "c2", "network": "n", "ports": {"6379": "49153"}}, "odd": {}}`,
	})
	if err != nil || job.Container != "c1" || !maps.Equal(job.Services, map[string]string{"c2": "redis"}) {
		t.Errorf("%+v, %v", job, err)
	}
	for _, none := range []string{"", "null", "{}"} {
		if job, err := ReadActionJob(Env{"INPUT_JOB-SERVICES": none}); err != nil || len(job.Services) != 0 || job.Container != "" {
			t.Errorf("%q: %+v, %v", none, job, err)
		}
	}
	if job, err := ReadActionJob(Env{"INPUT_JOB-CONTAINER": "c1", "INPUT_JOB-SERVICES": "["}); err == nil || job.Container != "c1" {
		t.Errorf("broken: %+v, %v", job, err)
	}
}

func TestRunnerTemp(t *testing.T) {
	if path, err := RunnerTemp(Env{"INPUT_RUNNER-TEMP": `"\/home\/runner\/work\/_temp"`}); err != nil || path != "/home/runner/work/_temp" {
		t.Errorf("%q, %v", path, err)
	}
	// The runner would have replaced a path that is not JSON.
	for _, other := range []string{"", "/github/runner_temp", "null", `""`, "{}"} {
		if path, err := RunnerTemp(Env{"INPUT_RUNNER-TEMP": other}); err == nil {
			t.Errorf("%q: %q", other, path)
		}
	}
}
