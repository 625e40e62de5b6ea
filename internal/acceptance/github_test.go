//go:build linux

package acceptance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/org/portcheck/check"
)

// TestGitHubStep checks the runner's ports from a step, which is a container on a
// network of its own.
func TestGitHubStep(t *testing.T) {
	image := imageUnderTest(t)
	p := freePorts(t, 4)
	free, pool := p[2], p[3]
	pid, executable := listen(t, nil, fmt.Sprint(p[0]))
	published := serve(t, []string{
		"-p", fmt.Sprintf("%d:80", p[1]), "--name", fmt.Sprintf("shop-web-%d", p[1]),
		"--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=web",
	}, 80)
	o := step{
		image: image,
		manifest: fmt.Sprintf("version: 1\napp: shop\nrange: %d-%d\nports:\n", pool, pool+40) +
			need("api", p[0], "") + need("web", p[1], "") + need("spare", free, ""),
		inputs: map[string]string{"output": "json=out/deep/report.json"},
	}.run(t).want(t, 1)

	target := o.target(t)
	if target.Name != "runner" || target.Namespace.Kind != "host" || target.Namespace.Reason == "" {
		t.Errorf("target %+v", target)
	}
	api := o.status(t, "api", check.InUse)
	if h := holder(t, api); h.PID != pid || h.Process != "server" || h.Executable != executable && h.Unit == "" {
		t.Errorf("api is held by %+v, want pid %d of %s", h, pid, executable)
	}
	web := o.status(t, "web", check.InUse)
	if len(web.Holders) == 0 {
		t.Fatalf("web has no holder: %s", web.Message)
	}
	for _, h := range web.Holders {
		want := check.Container{ID: published, Name: fmt.Sprintf("shop-web-%d", p[1]), Image: serverName, Compose: "shop/web", Engine: "docker"}
		if h.Container == nil || *h.Container != want {
			t.Errorf("web is held by %+v of container %+v, want %+v", h, h.Container, want)
		}
	}
	o.status(t, "spare", check.Free)
	for _, r := range []check.Result{api, web} {
		if len(r.Alternatives) != 3 {
			t.Errorf("%s: alternatives %v, want 3", r.Name, r.Alternatives)
		}
		for _, a := range r.Alternatives {
			if err := bindable(int(a)); err != nil {
				t.Errorf("%s: alternative %d: %v", r.Name, a, err)
			}
		}
	}

	for line, name := range map[int]string{5: "api", 6: "web"} {
		if !slices.ContainsFunc(strings.Split(o.stdout, "\n"), func(s string) bool {
			return strings.HasPrefix(s, "::error ") && strings.Contains(s, "file=portcheck.yml") &&
				strings.Contains(s, fmt.Sprintf("line=%d,", line)) && strings.Contains(s, name)
		}) {
			t.Errorf("%s is not annotated at line %d\n%s", name, line, o)
		}
	}
	if n := strings.Count(o.stdout, "\n::error "); n != 2 {
		t.Errorf("%d annotations\n%s", n, o)
	}
	for _, want := range []string{"api", "web", fmt.Sprint(p[0]), fmt.Sprint(p[1])} {
		if !strings.Contains(o.summary, want) {
			t.Errorf("no %s in the summary:\n%s", want, o.summary)
		}
	}

	if o.outputs["ok"] != "false" || o.outputs["conflicts"] != "2" || o.outputs["report"] != "out/deep/report.json" {
		t.Errorf("outputs %v", o.outputs)
	}
	var alternatives map[string][]uint16
	if err := json.Unmarshal([]byte(o.outputs["alternatives"]), &alternatives); err != nil {
		t.Fatalf("output alternatives: %v", err)
	}
	if len(alternatives) != 2 || !slices.Equal(alternatives[api.ID], api.Alternatives) || !slices.Equal(alternatives[web.ID], web.Alternatives) {
		t.Errorf("output alternatives %v", alternatives)
	}
	for _, name := range []string{"out", "out/deep", "out/deep/report.json"} {
		ofRunner(t, filepath.Join(o.workspace, name))
	}
	t.Logf("took %s", o.took)
}

// TestGitHubReport checks that later steps can read and remove the report, and that
// the checkout stays clean.
func TestGitHubReport(t *testing.T) {
	p := freePorts(t, 1)
	image := imageUnderTest(t)
	for name, input := range map[string]map[string]string{
		"on the runner":            {"port": fmt.Sprint(p[0])},
		"of a manifest's error":    {"manifest": "missing.yml"},
		"in a job with containers": {"port": fmt.Sprint(p[0]), "job-container": serve(t, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			o := step{image: image, inputs: input}.run(t)
			file := o.outputs["report"]
			if dir, base := filepath.Split(file); filepath.Clean(dir) != filepath.Join(o.workspace, "../_temp") || !strings.HasPrefix(base, "portcheck-") {
				t.Errorf("the report is at %q\n%s", file, o)
			}
			if o.code == 0 && (o.outputs["ok"] != "true" || o.outputs["conflicts"] != "0" || o.outputs["alternatives"] != "{}") {
				t.Errorf("outputs %v", o.outputs)
			}
			if o.code == 0 && (len(o.report.Results) != 1 || o.report.Results[0].Status != check.Free) || o.code != 0 && len(o.report.Problems) != 1 {
				t.Errorf("report %+v\n%s", o.report, o)
			}
			ofRunner(t, file)
			if out, err := shell("git", "-c", "safe.directory=*", "-C", o.workspace, "status", "--porcelain"); err != nil || out != "" {
				t.Errorf("git status: %v\n%s", err, out)
			}
		})
	}
	// A file that the workflow names, as runners do it.
	s := step{image: image, inputs: map[string]string{"port": fmt.Sprint(p[0])}}
	s.prepare(t)
	s.inputs["output"] = "junit=" + s.temp() + "/deep/junit.xml\njson=" + s.temp() + "/deep/report.json"
	s.launch(t)
	o := s.wait(t).want(t, 0)
	if want := s.temp() + "/deep/report.json"; o.outputs["report"] != want {
		t.Errorf("the report is at %q, want %q", o.outputs["report"], want)
	}
	for _, name := range []string{"", "report.json", "junit.xml"} {
		ofRunner(t, filepath.Join(s.temp(), "deep", name))
	}
}

// ofRunner fails the test if later steps could not read and replace a file.
func ofRunner(t *testing.T, name string) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Error(err)
		return
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != runnerID || s.Gid != runnerID || info.Mode().Perm()&0o444 != 0o444 {
		t.Errorf("%s belongs to %d:%d with mode %s", name, s.Uid, s.Gid, info.Mode())
	}
}

// TestGitHubServices checks that the report names the job's services as holders of
// their published ports, and that an owner accepts them.
func TestGitHubServices(t *testing.T) {
	image := imageUnderTest(t)
	p := freePorts(t, 2)
	id := serve(t, []string{"-p", fmt.Sprintf("%d:6379", p[0]), "-p", fmt.Sprintf("%d:6380", p[1])}, 6379, 6380)
	o := step{
		image:    image,
		manifest: manifest(need("cache", p[0], ""), need("own-cache", p[1], ", owner: {container: redis}")),
		inputs:   map[string]string{"job-services": fmt.Sprintf(`{"redis": {"id": %q, "ports": {"6379": "%d"}, "network": "bridge"}}`, id, p[0])},
	}.run(t).want(t, 1)
	if r := o.status(t, "cache", check.InUse); !strings.Contains(r.Message, "this job's service redis") {
		t.Errorf("cache: %s", r.Message)
	}
	o.status(t, "own-cache", check.Owned)
}

// TestGitHubJobContainer checks that in a job with a container, the target job
// means that container's ports.
func TestGitHubJobContainer(t *testing.T) {
	image := imageUnderTest(t)
	p := freePorts(t, 2)
	pid, _ := listen(t, nil, fmt.Sprint(p[0]))
	job := serve(t, nil, p[1])
	o := step{
		image:    image,
		manifest: manifest(need("host", p[0], ""), need("job", p[1], "")),
		inputs:   map[string]string{"job-container": job},
	}.run(t).want(t, 1)
	if target := o.target(t); target.Name != "job" || target.Namespace.Kind != "container" {
		t.Errorf("target %+v", target)
	}
	o.status(t, "host", check.Free)
	if h := holder(t, o.status(t, "job", check.InUse)); h.PID == 0 || h.PID == pid || h.Process != "server" || h.Container == nil || h.Container.ID != job {
		t.Errorf("holder %+v in %+v", h, h.Container)
	}
}
