//go:build linux

package acceptance

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

// build builds an image on the image under test and returns its name.
func (v variant) build(t *testing.T, name string, files map[string]string, instructions ...string) string {
	t.Helper()
	dir := temp(t)
	files["Dockerfile"] = "FROM " + v.image + "\n" + strings.Join(instructions, "\n") + "\n"
	for file, text := range files {
		write(t, filepath.Join(dir, file), text)
		if err := os.Chmod(filepath.Join(dir, file), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	image := v.image + "-" + name
	docker(t, "build", "-q", "--network", "none", "-t", image, dir)
	t.Cleanup(func() { docker(t, "image", "rm", image) })
	return image
}

// run starts a container that is removed with the test, and returns its ID.
func run(t *testing.T, args ...string) string {
	t.Helper()
	id := docker(t, append([]string{"run", "-d"}, args...)...)
	t.Cleanup(func() { docker(t, "rm", "-f", "-v", id) })
	return id
}

// starts returns how many helpers of the image were started since a time.
func (v variant) starts(t *testing.T, since time.Time) int {
	t.Helper()
	return len(strings.Fields(docker(t, "events", "--since", unixNano(since), "--until", unixNano(time.Now()),
		"--filter", "type=container", "--filter", "event=start", "--filter", "label="+v.label, "--filter", "label="+deadlineLabel, "--format", "{{.ID}}")))
}

// TestForeignImages checks that no helper is started from the image of the
// container that a step shares its network with, whatever its author has done to
// pass it off as portcheck's.
func TestForeignImages(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 1)
	for name, c := range map[string]struct {
		files        map[string]string
		instructions []string
		want         string
	}{
		"script": {
			map[string]string{"script": "#!/bin/sh\nexec sleep 60\n"},
			[]string{"COPY script /usr/local/bin/portcheck"},
			"its /usr/local/bin/portcheck is another program than the portcheck that runs here",
		},
		// When the helper runs, the path leads to a file of the machine.
		"link": {
			map[string]string{},
			[]string{
				"COPY --from=" + v.image + " /usr/local/bin/portcheck /proc/1/root/tmp/portcheck",
				"RUN rm -r /usr/local/bin && ln -s /proc/1/root/tmp /usr/local/bin",
			},
			"/usr/local/bin is not a directory in it",
		},
		"volume": {map[string]string{}, []string{"VOLUME /usr/local/bin"}, "it declares volumes"},
		"none":   {map[string]string{}, []string{"RUN rm /usr/local/bin/portcheck"}, "it has no /usr/local/bin/portcheck"},
	} {
		t.Run(name, func(t *testing.T) {
			job := run(t, v.build(t, name, c.files, c.instructions...), "sleep", "600")
			since := time.Now()
			step{
				image: v.image, manifest: manifest(need("web", p[0], "")),
				flags: []string{"--network", "container:" + job},
			}.run(t).want(t, 3).reason(t, c.want, "start portcheck unchanged from its own image")
			if n := v.starts(t, since); n > 0 {
				t.Errorf("%d helpers were started", n)
			}
			if left := v.helpers(t); len(left) > 0 {
				t.Errorf("left: %s", describe(t, left))
			}
		})
	}
}

// preload is a library that an image has the loader load into every program.
const preload = `#include <unistd.h>
__attribute__((constructor)) static void run(void) {
	static const char text[] = "the image's library runs\n";
	(void)!write(2, text, sizeof text - 1);
	_exit(7);
}
`

// TestForeignLoader checks that a portcheck that is linked dynamically starts no
// helper. Another image can have the same executable, and a library of its own for
// the loader.
func TestForeignLoader(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	dir := temp(t)
	compile := func(command ...string) {
		t.Helper()
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", command, err, out)
		}
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		testbed.Missing(t, fmt.Sprintf("needs gcc: %v", err))
	}
	program, library := filepath.Join(dir, "portcheck"), filepath.Join(dir, "library.so")
	write(t, filepath.Join(dir, "library.c"), preload)
	compile("go", "build", "-ldflags=-s -w", "-o", program, "../..")
	compile("gcc", "-shared", "-fPIC", "-o", library, filepath.Join(dir, "library.c"))
	// The loader and the libraries: "/lib64/ld-linux.so.2 (0x0)", "libc.so.6 => /lib/libc.so.6 (0x0)".
	libraries, err := exec.Command("ldd", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	files, instructions := map[string]string{"portcheck": read(t, program)}, []string{"COPY portcheck /usr/local/bin/portcheck"}
	for word := range strings.FieldsSeq(string(libraries)) {
		if strings.HasPrefix(word, "/") {
			name := filepath.Base(word)
			files[name] = read(t, word)
			instructions = append(instructions, "COPY "+name+" "+word)
		}
	}
	p := freePorts(t, 1)
	image := v.build(t, "dynamic", maps.Clone(files), instructions...)
	files["library.so"], files["ld.so.preload"] = read(t, library), "/library.so\n"
	job := run(t, v.build(t, "loader", files, append(instructions, "COPY library.so /library.so", "COPY ld.so.preload /etc/ld.so.preload")...), "sleep", "600")
	since := time.Now()
	for _, flags := range [][]string{{"--network", "container:" + job}, nil} {
		step{image: image, manifest: manifest(need("web", p[0], "")), flags: flags}.run(t).
			want(t, 3).reason(t, "this portcheck is linked dynamically", "build it with CGO_ENABLED=0")
	}
	if helpers, _ := v.creations(t, since); helpers > 0 {
		t.Errorf("%d helpers were created", helpers)
	}
}

// TestImageConfiguration checks that nothing in the configuration of portcheck's
// image steers a helper, and that a helper is confined.
func TestImageConfiguration(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	p := freePorts(t, 1)
	listen(t, nil, fmt.Sprint(p[0]))
	image := v.build(t, "steered", map[string]string{},
		"ENV GODEBUG=panicnil=1 DOCKER_HOST=tcp://192.0.2.1:1 TOKEN=x", "HEALTHCHECK --interval=1s CMD touch /tmp/x", "USER 65534:65534", "WORKDIR /tmp", `ENTRYPOINT ["/bin/sh"]`,
		`CMD ["-c", "sleep 60"]`, "STOPSIGNAL SIGCONT", `SHELL ["/bin/false"]`, "EXPOSE 80", "ONBUILD RUN false")
	s := step{
		image: image, manifest: manifest(need("web", p[0], "")), inputs: map[string]string{"wait": "15s"},
		flags: []string{"-u", "0:0", "-e", "DOCKER_HOST="},
	}
	s.start(t)
	var helper string
	for deadline := time.Now().Add(patience); helper == ""; time.Sleep(10 * time.Millisecond) {
		if all := v.helpers(t, "status=running"); len(all) == 1 {
			helper = all[0]
		} else if time.Now().After(deadline) {
			t.Fatalf("helpers: %v\n%s", all, s.wait(t))
		}
	}
	pid := docker(t, "inspect", "--format", "{{.State.Pid}}", helper)
	got := docker(t, "inspect", "--format", `{{.Path}} {{slice .Args 0 2}} {{.Config.User}} {{.Config.WorkingDir}} {{.Config.Healthcheck.Test}} health={{with .State.Health}}{{.Status}}{{end}} `+
		`{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.PidsLimit}} {{len .Mounts}}`, helper)
	if want := "/usr/local/bin/portcheck [probe --confine] 0:0 / [NONE] health= 536870912 536870912 1024 0"; got != want {
		t.Errorf("the helper is %q, want %q", got, want)
	}
	for variable := range strings.SplitSeq(strings.TrimSuffix(read(t, "/proc/"+pid+"/environ"), "\x00"), "\x00") {
		if name, value, _ := strings.Cut(variable, "="); value != "" && !slices.Contains([]string{"HOSTNAME", "HOME"}, name) {
			t.Errorf("the helper has the variable %s", variable)
		}
	}
	status := read(t, "/proc/"+pid+"/status")
	for _, want := range []string{"Uid:\t0\t0\t0\t0\n", "Seccomp:\t2\n", "NoNewPrivs:\t1\n"} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in the helper's status:\n%s", want, status)
		}
	}
	s.wait(t).want(t, 1)
}

// TestSweepLeavesOthers checks that a step removes no container that only looks
// like an expired helper, and no volume.
func TestSweepLeavesOthers(t *testing.T) {
	t.Parallel()
	v := newVariant(t)
	label := func(deadline time.Time) string { return fmt.Sprintf("%s=%d", deadlineLabel, deadline.Unix()) }
	database := v.build(t, "database", map[string]string{}, "LABEL "+deadlineLabel+"=1", "VOLUME /data")
	due := label(time.Now().Add(-30 * time.Second))
	ids := map[string]string{
		"an image with a deadline":            run(t, database, "sh", "-c", "echo kept >/data/rows; sleep 600"),
		"it, with a helper's name":            run(t, "--name", helperName(), database, "sleep", "600"),
		"it, with a deadline that we set":     run(t, "--name", helperName(), "--label", due, database, "sleep", "600"),
		"our image with another deadline":     run(t, "--name", helperName(), "--label", label(time.Unix(1, 0)), v.image, "sleep", "600"),
		"our image with another program":      run(t, "--rm", "--name", helperName(), "--label", due, v.image, "sleep", "600"),
		"our image with another volume":       run(t, "--rm", "-v", "/data", "-i", "--name", helperName(), "--label", due, "--entrypoint", "/usr/local/bin/portcheck", v.image, "probe", "--confine", "--for", "10m0s"),
		"our image with another name":         run(t, "--rm", "-i", "--label", due, "--entrypoint", "/usr/local/bin/portcheck", v.image, "probe", "--confine", "--for", "10m0s"),
		"our image with a deadline before it": run(t, "--rm", "-i", "--name", helperName(), "--label", label(time.Now().Add(-time.Hour)), "--entrypoint", "/usr/local/bin/portcheck", v.image, "probe", "--confine", "--for", "10m0s"),
	}
	step{image: v.image, inputs: map[string]string{"port": fmt.Sprint(freePorts(t, 1)[0])}}.run(t).want(t, 0)
	for what, id := range ids {
		if !stateOf(t, id).Running {
			t.Errorf("%s: it was removed", what)
		}
	}
	if rows := docker(t, "exec", ids["an image with a deadline"], "cat", "/data/rows"); rows != "kept" {
		t.Errorf("the volume has %q", rows)
	}
}
