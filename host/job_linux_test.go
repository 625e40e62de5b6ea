package host

import (
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/org/portcheck/ci"
)

// Of an environment nothing is kept but the variables that name a job.
func TestJobVariables(t *testing.T) {
	secrets := "TOKEN=secret\x00GITHUB_TOKEN=secret\x00GITHUB_RUN_ID_X=secret\x00noequals\x00=secret\x00"
	for text, want := range map[string]ci.Env{
		"":      {},
		secrets: {},
		secrets + "GITHUB_RUN_ID=7\x00PATH=secret\x00CI=true\x00":                  {"GITHUB_RUN_ID": "7", "CI": "true"},
		"PORTCHECK_JOB=a=b\x00BUILD_TAG=\x00":                                      {"PORTCHECK_JOB": "a=b", "BUILD_TAG": ""},
		"GITHUB_RUN_ID=" + strings.Repeat("x", variableLimit+1) + "\x00":           {},
		"PORTCHECK_JOB=x\x00GITHUB_RUN_ID=12":                                      {"PORTCHECK_JOB": "x"}, // cut off
		"A=\nGITHUB_RUN_ID=7\x00B= PORTCHECK_JOB=y\x00CI_JOB_ID=\xff\n\x1b[2J\x00": {"CI_JOB_ID": "\xff\n\x1b[2J"},
	} {
		if got := jobVariables([]byte(text)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestJobOfAProcess(t *testing.T) {
	read := func(limit int, env ...string) *Job {
		t.Helper()
		cmd := exec.Command("cat")
		cmd.Env = env
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = stdin.Close()
			_ = cmd.Wait() // it was started to be looked at
		}()
		// Its environment is there once it runs: Start returns in the middle of execve.
		if _, err := stdin.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := stdout.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		d := newDetails(t.Context(), false)
		d.jobs = limit
		h, ok := d.of(cmd.Process.Pid)
		if !ok {
			t.Fatal("it has ended")
		}
		return h.Job
	}
	gitlab := []string{"TOKEN=secret", "GITLAB_CI=true", "CI_JOB_ID=77"}
	for _, c := range []struct {
		name  string
		limit int
		env   []string
		want  *Job
	}{
		{"GitLab", environmentsLimit, gitlab, &Job{Identity: "GitLab/77", Text: "job 77 of GitLab"}},
		{"not asked for", 0, gitlab, nil},
		{"nothing left to read", 20, gitlab, nil},
		{"no job", environmentsLimit, []string{"TOKEN=secret"}, nil},
		{"behind a long variable", environmentsLimit, append([]string{"X=" + strings.Repeat("x", 100_000)}, gitlab...), &Job{Identity: "GitLab/77", Text: "job 77 of GitLab"}},
		{"too far behind", environmentsLimit, append([]string{"X=" + strings.Repeat("x", 100_000), "Y=" + strings.Repeat("x", 100_000)}, gitlab...), nil},
	} {
		if got := read(c.limit, c.env...); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
	if got := read(environmentsLimit, "PORTCHECK_JOB=\x1b[2J"); got == nil || strings.ContainsRune(got.Named, '\x1b') {
		t.Errorf("a name that is no text: %+v", got)
	}
}
