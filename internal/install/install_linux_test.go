package install

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

// patience is how long a command may take on a busy machine.
const patience = 2 * time.Minute

// release is a server with a release of portcheck.
type release struct {
	url string

	mu    sync.Mutex
	files map[string][]byte
	asked []string // since the last call of requests
}

// archive is the name of the release's archive for this machine.
var archive = fmt.Sprintf("portcheck_1.2.3_linux_%s.tar.gz", runtime.GOARCH)

var build = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "install")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "portcheck")
	cmd := exec.Command("go", "build", "-o", program, "-ldflags", "-X github.com/org/portcheck/cli.version=v1.2.3", "../..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "portcheck", Mode: 0o755, Size: int64(len(text))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	err = z.Close()
	return b.Bytes(), err
})

// serve serves a release whose checksums are right.
func serve(t *testing.T) *release {
	t.Helper()
	data, err := build()
	if err != nil {
		t.Fatal(err)
	}
	r := &release{}
	sums := fmt.Appendf(nil, "%064d  portcheck_1.2.3_plan9_mips.tar.gz\n%x  %s\n", 0, sha256.Sum256(data), archive)
	r.files = map[string][]byte{
		"/latest/download/checksums.txt": sums,
		"/download/v1.2.3/checksums.txt": sums,
		"/download/v1.2.3/" + archive:    data,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked = append(r.asked, path.Base(req.URL.Path))
		data, ok := r.files[req.URL.Path]
		if !ok {
			http.NotFound(w, req)
			return
		}
		_, _ = w.Write(data) // the client may have gone
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// set replaces a file of the release.
func (r *release) set(name string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[name] = data
}

// requests returns the names of the files that were requested since the last call.
func (r *release) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	return asked
}

// run runs a command with more variables, and returns its output and exit code.
func run(t *testing.T, env []string, dir string, words ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = patience / 4
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || ctx.Err() != nil {
		t.Fatalf("%q: %v\n%s", words, err, out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

const script = "../../setup/install.sh"

// files returns the names below a directory.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// commands returns a PATH with the commands that the script needs, and these.
func commands(t *testing.T, more ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range append(more, "cat", "chmod", "cp", "cut", "grep", "gzip", "mkdir", "mktemp", "mv", "rm", "tar", "uname", "wc") {
		file, err := exec.LookPath(name)
		if err != nil {
			testbed.Missing(t, "needs "+name)
		}
		if err := os.Symlink(file, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return "PATH=" + dir
}

func TestScriptInstalls(t *testing.T) {
	testbed.Slow(t, "builds portcheck")
	r := serve(t)
	shells := [][]string{{"sh"}, {"bash", "--posix"}}
	if _, err := exec.LookPath("busybox"); err == nil {
		shells = append(shells, []string{"busybox", "sh"})
	}
	for _, shell := range shells {
		for name, c := range map[string]struct {
			env, flags []string
		}{
			"the newest":       {nil, nil},
			"a version":        {nil, []string{"--version", "v1.2.3"}},
			"wget and openssl": {[]string{commands(t, "wget", "openssl")}, nil},
			"curl and shasum":  {[]string{commands(t, "curl", "shasum", "perl", "env")}, nil},
		} {
			if shell[0] != "sh" && name != "the newest" {
				continue
			}
			bin := filepath.Join(t.TempDir(), "new/bin")
			file, err := exec.LookPath(shell[0])
			if err != nil {
				testbed.Missing(t, "needs "+shell[0])
			}
			words := append(append([]string{file}, shell[1:]...), script, "--dir", bin)
			out, code := run(t, append(c.env, "PORTCHECK_BASE_URL="+r.url), "", append(words, c.flags...)...)
			if code != 0 || !strings.HasPrefix(out, bin+"/portcheck\n") || !strings.Contains(out, bin+" is not in PATH") {
				t.Errorf("%q, %s: exit code %d\n%s", shell, name, code, out)
				continue
			}
			if out, _ := run(t, nil, "", bin+"/portcheck", "version"); !strings.HasPrefix(out, "portcheck v1.2.3 ") {
				t.Errorf("%q, %s: installed %s", shell, name, out)
			}
			if names := files(t, bin); len(names) != 1 {
				t.Errorf("%q, %s: left %q", shell, name, names)
			}
		}
	}
}

// Whatever is wrong, nothing is installed and an older executable stays.
func TestScriptRefuses(t *testing.T) {
	testbed.Slow(t, "builds portcheck")
	sum := func(text string) []byte {
		return fmt.Appendf(nil, "%x  %s\n", sha256.Sum256([]byte(text)), archive)
	}
	for name, c := range map[string]struct {
		files map[string][]byte
		flags []string
		want  string
	}{
		"another checksum":     {map[string][]byte{"/latest/download/checksums.txt": sum("x")}, nil, "the checksum of " + archive + " is wrong: want "},
		"another archive":      {map[string][]byte{"/download/v1.2.3/" + archive: []byte("x")}, nil, "the checksum of " + archive + " is wrong: want "},
		"not for this machine": {map[string][]byte{"/latest/download/checksums.txt": []byte(strings.Replace(string(sum("x")), "_linux_", "_beos_", 1))}, nil, "the release has no archive for linux_" + runtime.GOARCH},
		"a page":               {map[string][]byte{"/latest/download/checksums.txt": []byte("<html>sign in</html>")}, nil, "the release has no archive"},
		"two archives":         {map[string][]byte{"/latest/download/checksums.txt": append(sum("x"), bytes.Replace(sum("x"), []byte("1.2.3"), []byte("1.2.4"), 1)...)}, nil, "several archives"},
		"another version":      {map[string][]byte{"/download/v1.2.4/checksums.txt": sum("x")}, []string{"--version", "v1.2.4"}, "the release v1.2.4 has the archive of v1.2.3"},
		"no such release":      {nil, []string{"--version", "v9.0.0"}, "can't download "},
		"no version":           {nil, []string{"--version", "1.2"}, "--version 1.2: want a release, such as v1.2.3, or latest"},
		"a path":               {nil, []string{"--version", "v1.2.3/../x"}, "want a release"},
		"no value":             {nil, []string{"--version"}, "--version needs a value"},
		"an unknown flag":      {nil, []string{"--prefix", "/x"}, "unknown argument --prefix"},
	} {
		r := serve(t)
		for file, data := range c.files {
			r.set(file, data)
		}
		bin := t.TempDir()
		if err := os.WriteFile(bin+"/portcheck", []byte("old"), 0o755); err != nil {
			t.Fatal(err)
		}
		out, code := run(t, []string{"PORTCHECK_BASE_URL=" + r.url}, "", append([]string{"sh", script, "--dir", bin}, c.flags...)...)
		if code != 1 || !strings.Contains(out, "install.sh: "+c.want) && !strings.Contains(out, c.want) {
			t.Errorf("%s: exit code %d, want 1 and %q\n%s", name, code, c.want, out)
		}
		if data, err := os.ReadFile(bin + "/portcheck"); err != nil || string(data) != "old" || len(files(t, bin)) != 1 {
			t.Errorf("%s: %q, %v, %q", name, data, err, files(t, bin))
		}
	}
}

// An archive of the cache is verified as well.
func TestScriptCache(t *testing.T) {
	testbed.Slow(t, "builds portcheck")
	r := serve(t)
	cache := filepath.Join(t.TempDir(), "cache")
	install := func(want ...string) {
		t.Helper()
		if out, code := run(t, []string{"PORTCHECK_BASE_URL=" + r.url}, "", "sh", script, "--dir", t.TempDir(), "--cache", cache); code != 0 {
			t.Errorf("exit code %d\n%s", code, out)
		}
		if got := r.requests(); !slices.Equal(got, want) {
			t.Errorf("requested %q, want %q", got, want)
		}
		if names := files(t, cache); !slices.Equal(names, []string{archive}) {
			t.Errorf("the cache has %q", names)
		}
	}
	install("checksums.txt", archive)
	install("checksums.txt")
	if err := os.WriteFile(filepath.Join(cache, archive), []byte("somebody else's"), 0o644); err != nil {
		t.Fatal(err)
	}
	install("checksums.txt", archive)
}

const workflow = `on: push
jobs:
  free:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - id: setup
        uses: ./setup
        with: {base-url: "%[1]s"}
      - run: echo "installed $VERSION at $AT" && test "$(command -v portcheck)" = "$AT"
        env: {VERSION: "${{ steps.setup.outputs.version }}", AT: "${{ steps.setup.outputs.path }}"}
      - run: portcheck check portcheck.yml
  old:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: ./setup
        with: {base-url: "%[1]s", version: v0.9.0}
`

// TestSetupAction runs the action setup by act, on this machine.
func TestSetupAction(t *testing.T) {
	testbed.Slow(t, "runs act")
	for _, program := range []string{"act", "git", "node"} {
		if _, err := exec.LookPath(program); err != nil {
			testbed.Missing(t, "needs "+program)
		}
	}
	r := serve(t)
	home := t.TempDir()
	repository := filepath.Join(home, "shop")
	lines := "version: 1\nports:\n  - name: web\n    port: " + r.url[strings.LastIndex(r.url, ":")+1:] + "\n"
	all := map[string]string{".github/workflows/ci.yml": fmt.Sprintf(workflow, r.url), "portcheck.yml": lines}
	for _, name := range []string{"action.yml", "install.sh", "run.sh"} {
		data, err := os.ReadFile("../../setup/" + name)
		if err != nil {
			t.Fatal(err)
		}
		all["setup/"+name] = string(data)
	}
	for name, text := range all {
		file := filepath.Join(repository, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, words := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "all"}} {
		if out, code := run(t, nil, repository, append([]string{"git"}, words...)...); code != 0 {
			t.Fatalf("git %q: %s", words, out)
		}
	}
	act := func(job string) (string, int) {
		t.Helper()
		return run(t, []string{"HOME=" + home, "XDG_CACHE_HOME=" + home + "/cache", "XDG_CONFIG_HOME=" + home + "/config"}, repository,
			"act", "push", "-j", job, "-P", "ubuntu-latest=-self-hosted", "--pull=false", "--rm")
	}
	contains := func(out string, code, want int, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if !strings.Contains(out, text) {
				t.Errorf("no %q in\n%s", text, out)
			}
		}
		if code != want {
			t.Errorf("exit code %d, want %d\n%s", code, want, out)
		}
	}

	// The server of the release itself holds the port.
	out, code := act("free")
	contains(out, code, 1, "installed v1.2.3 at ", "::error ", "file=portcheck.yml,line=4", "is in use by ")
	out, code = act("old")
	contains(out, code, 1, "::error title=portcheck::", "can't download ", "/download/v0.9.0/checksums.txt")

	r.set("/download/v1.2.3/"+archive, []byte("x"))
	if err := os.RemoveAll(home + "/cache"); err != nil {
		t.Fatal(err)
	}
	out, code = act("free")
	contains(out, code, 1, "::error title=portcheck::", "the checksum of "+archive+" is wrong")
	if strings.Contains(out, "installed v1.2.3") {
		t.Errorf("the job goes on\n%s", out)
	}
}
