//go:build linux

package acceptance

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/org/portcheck/check"
)

// detectShell is what GitLab's runner runs in a container, with the script on
// stdin.
const detectShell = `if [ -x /usr/local/bin/bash ]; then
	exec /usr/local/bin/bash 
elif [ -x /usr/bin/bash ]; then
	exec /usr/bin/bash 
elif [ -x /bin/bash ]; then
	exec /bin/bash 
elif [ -x /usr/local/bin/sh ]; then
	exec /usr/local/bin/sh 
elif [ -x /usr/bin/sh ]; then
	exec /usr/bin/sh 
elif [ -x /bin/sh ]; then
	exec /bin/sh 
elif [ -x /busybox/sh ]; then
	exec /busybox/sh 
else
	echo shell not found
	exit 1
fi

`

// gitlabScript is how GitLab's runner wraps the lines of a job.
const gitlabScript = `if set -o | grep pipefail > /dev/null; then set -o pipefail; fi; set -o errexit
set +o noclobber
: | eval $'export CI=\'true\'
export GITLAB_CI=\'true\'
cd /builds/shop
%s
'
exit 0
`

// script runs a line of a job in a container of GitLab's docker executor, or of
// Jenkins' docker pipeline.
type script func(t *testing.T, mountSocket bool, line string) outcome

// inGitLab returns a script that runs a line like GitLab's docker executor.
func inGitLab(image, workspace string) script {
	return func(t *testing.T, mountSocket bool, line string) outcome {
		t.Helper()
		args := []string{"run", "--rm", "-i", "-v", workspace + ":/builds/shop", "--entrypoint", ""}
		if mountSocket {
			args = append(args, "-v", engineSocket+":"+engineSocket)
		}
		cmd := exec.Command("docker", append(args, image, "sh", "-c", detectShell)...)
		cmd.Stdin = strings.NewReader(fmt.Sprintf(gitlabScript, line))
		return outcomeOf(t, cmd, workspace)
	}
}

// inJenkins returns a script that runs a line like Jenkins' docker pipeline: in a
// container that was started with cat, as the agent's user.
func inJenkins(image, workspace string) script {
	return func(t *testing.T, mountSocket bool, line string) outcome {
		t.Helper()
		args := []string{
			"run", "-t", "-d", "-u", "1000:1000", "-w", workspace, "-v", workspace + ":" + workspace + ":rw,z",
			"-e", "JENKINS_URL=http://jenkins/", "-e", "BUILD_NUMBER=1",
		}
		if mountSocket {
			info, err := os.Stat(engineSocket)
			if err != nil {
				t.Fatal(err)
			}
			args = append(args, "-v", engineSocket+":"+engineSocket, "--group-add", fmt.Sprint(info.Sys().(*syscall.Stat_t).Gid))
		}
		name := "acceptance-jenkins-" + strings.ToLower(rand.Text()[:8])
		defer func() { _, _ = try("rm", "-f", name) }() // it may not have started
		id := docker(t, append(args, "--name", name, image, "cat")...)
		if top := docker(t, "top", id, "-eo", "pid,comm"); !strings.Contains(top, " cat") {
			t.Errorf("cat does not run, which Jenkins requires:\n%s", top)
		}
		return outcomeOf(t, exec.Command("docker", "exec", id, "sh", "-c", line), workspace)
	}
}

// outcomeOf runs a command and returns its outcome. The report is report.json in the
// workspace, if the command writes it.
func outcomeOf(t *testing.T, cmd *exec.Cmd, workspace string) outcome {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	o := outcome{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String(), workspace: workspace}
	file := filepath.Join(workspace, "report.json")
	if _, err := os.Stat(file); err == nil {
		o.report = readReport(t, read(t, file))
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); s.Uid != 1000 || s.Gid != 1000 {
			t.Errorf("the report belongs to %d:%d", s.Uid, s.Gid)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// TestOtherCI runs the image as a job of GitLab and Jenkins. The report names the
// namespace: the container's own, or the machine's on request.
func TestOtherCI(t *testing.T) {
	t.Parallel()
	image := imageUnderTest(t)
	p := freePorts(t, 2)
	pid, _ := listen(t, nil, fmt.Sprint(p[0]))
	for name, in := range map[string]func(image, workspace string) script{"GitLab": inGitLab, "Jenkins": inJenkins} {
		t.Run(name, func(t *testing.T) {
			workspace := temp(t)
			write(t, filepath.Join(workspace, "portcheck.yml"), manifest(need("web", p[0], ""), need("spare", p[1], "")))
			if err := os.Chown(workspace, 1000, 1000); err != nil {
				t.Fatal(err)
			}
			run := in(image, workspace)
			const line = "portcheck check -o json=report.json"
			warned := func(o outcome) bool {
				return strings.Contains(o.stdout, "warning:") && strings.Contains(o.stdout, "--target runner") && strings.Contains(o.stdout, name)
			}

			// The listener is on the machine, not in this container.
			o := run(t, false, line).want(t, 0)
			if !warned(o) {
				t.Errorf("no warning that these are the container's ports\n%s", o)
			}
			o.status(t, "web", check.Free)
			if target := o.target(t); target.Namespace.Kind != "container" {
				t.Errorf("namespace %+v", target.Namespace)
			}
			run(t, false, line+" --fail-on warning").want(t, 1)
			if o := run(t, true, line).want(t, 0); !warned(o) || o.result(t, "web").Status != check.Free {
				t.Errorf("a mounted socket alone changes the target\n%s", o)
			}
			if o := run(t, false, line+" --target local --fail-on warning").want(t, 0); strings.Contains(o.stdout, "warning:") {
				t.Errorf("a warning although the target was named\n%s", o)
			}
			run(t, false, "portcheck check no-such-file.yml").want(t, 2)

			o = run(t, true, line+" --target runner").want(t, 1)
			if warned(o) {
				t.Errorf("a warning although these are the machine's ports\n%s", o)
			}
			if target := o.target(t); target.Name != "runner" || target.Namespace.Kind != "host" {
				t.Errorf("target %+v", target)
			}
			if h := holder(t, o.status(t, "web", check.InUse)); h.PID != pid {
				t.Errorf("holder %+v, want pid %d", h, pid)
			}
			o.status(t, "spare", check.Free)
		})
	}
}

// TestByHand runs the image as a newcomer does, without a CI system and without a
// target.
func TestByHand(t *testing.T) {
	t.Parallel()
	image := imageUnderTest(t)
	p := freePorts(t, 1)
	_, _ = listen(t, nil, fmt.Sprint(p[0]))
	number := fmt.Sprint(p[0])
	in := func(code int, flags ...string) string {
		t.Helper()
		args := append([]string{"run", "--rm"}, flags...)
		out, err := exec.Command("docker", append(args, image, "portcheck", "--fail-on", "warning", "-p", number)...).CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if exit == nil && code != 0 || exit != nil && exit.ExitCode() != code {
			t.Errorf("%q: %v, want exit code %d\n%s", flags, err, code, out)
		}
		return string(out)
	}

	// The listener is on the machine, not in this container.
	if out := in(1); !strings.Contains(out, "warning: these are the ports of the container in which portcheck runs") || !strings.Contains(out, "--target runner") {
		t.Errorf("no warning with the way out:\n%s", out)
	}

	// Root's rights in a container are not those of root.
	shared := []string{"--network", "host", "--pid", "host"}
	out := in(1, append(shared, "--user", "65534")...)
	if strings.Contains(out, "as root") || !strings.Contains(out, "--cap-add SYS_PTRACE") {
		t.Errorf("no advice on capabilities:\n%s", out)
	}
	_, advised, _ := strings.Cut(out, "start the container with `")
	advised, _, _ = strings.Cut(advised, "`")
	if out := in(1, append(shared, strings.Fields(advised)...)...); !strings.Contains(out, "(pid ") || strings.Contains(out, "--cap-add") {
		t.Errorf("with the advised %s the holder is not named:\n%s", advised, out)
	}
}
