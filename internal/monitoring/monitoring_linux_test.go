package monitoring

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

func TestMain(m *testing.M) { testbed.MainWithProgram(m) }

const examples = "../../examples/monitoring"

func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		testbed.Missing(t, err.Error())
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestRules runs the rules' own tests, and checks that they use metrics that exist.
func TestRules(t *testing.T) {
	need(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "portcheck.rules.yml"},
		{"check", "config", "prometheus.yml"},
		{"test", "rules", "portcheck.rules.test.yml"},
	} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = examples
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestPrometheusScrapesAWatch has a real Prometheus scrape a real watch. The alert fires
// for a port that a stranger takes, and resolves when it is given back.
func TestPrometheusScrapesAWatch(t *testing.T) {
	need(t, "prometheus")
	testbed.Slow(t, "Prometheus takes seconds to start")
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	short := regexp.MustCompile(`(?m)^( +for:) .*$`).ReplaceAllString(read(t, "portcheck.rules.yml"), "$1 0s")
	config := regexp.MustCompile(`_interval: 15s`).ReplaceAllString(read(t, "prometheus.yml"), "_interval: 100ms")
	for name, text := range map[string]string{
		"portcheck.rules.yml": short, "prometheus.yml": config,
		"portcheck.yml": "version: 1\napp: shop\nports: [{name: web, port: 8080, owner: {process: nginx}}]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	begin := func(name string, args ...string) {
		cmd := exec.Command(name, args...)
		var out strings.Builder
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // killed: the error is expected
			if t.Failed() {
				t.Logf("%s:\n%s", name, &out)
			}
		})
	}
	begin(testbed.Program(), "watch", "portcheck.yml", "-t", "local", "--interval", "100ms", "--metrics", ":9464")
	begin("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:9090", "--log.level=warn")
	waitForAlerts(t, "while the port is free", func(firing []string) bool { return len(firing) == 0 })
	stranger, _ := testbed.Python(t, "import socket, time\ns = socket.socket()\ns.bind(('', 8080))\ns.listen()\nprint('ready')\ntime.sleep(1000)")
	const alert = "PortNeedUnmet shop/web@local/tcp"
	waitForAlerts(t, "when a stranger has it", func(firing []string) bool { return slices.Equal(firing, []string{alert}) })
	if err := stranger.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitForAlerts(t, "when it is given back", func(firing []string) bool { return len(firing) == 0 })
}

// waitForAlerts waits until Prometheus has scraped the watch and its alerts are as done wants.
func waitForAlerts(t *testing.T, when string, done func(firing []string) bool) {
	t.Helper()
	var firing []string
	for begin := time.Now(); time.Since(begin) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		var up struct {
			Data struct {
				Result []struct{ Value [2]any }
			}
		}
		var alerts struct {
			Data struct {
				Alerts []struct {
					Labels map[string]string
					State  string
				}
			}
		}
		if get("query?query=portcheck_up", &up) != nil || get("alerts", &alerts) != nil || len(up.Data.Result) != 1 || up.Data.Result[0].Value[1] != "1" {
			continue
		}
		firing = nil
		for _, a := range alerts.Data.Alerts {
			firing = append(firing, strings.TrimSpace(a.Labels["alertname"]+" "+a.Labels["id"]))
		}
		if done(firing) {
			return
		}
	}
	t.Fatalf("%s: the alerts are %q", when, firing)
}

func get(path string, into any) error {
	response, err := http.Get("http://127.0.0.1:9090/api/v1/" + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}

// TestUnit checks that systemd accepts the unit and finds it confined.
func TestUnit(t *testing.T) {
	need(t, "systemd-analyze")
	testbed.Slow(t, "builds portcheck")
	unit := filepath.Join(t.TempDir(), "portcheck-watch.service")
	text := strings.Replace(read(t, "portcheck-watch.service"), "/usr/bin/portcheck", testbed.Program(), 1)
	if err := os.WriteFile(unit, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput(); err != nil || strings.Contains(string(out), "portcheck-watch") {
		t.Errorf("verify: %v\n%s", err, out)
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--threshold=30", "--no-pager", unit).CombinedOutput()
	if err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
}

// TestUnitNamesHolders checks the capabilities of the unit: with them alone, another
// user sees the holder of a port of root's.
func TestUnitNamesHolders(t *testing.T) {
	need(t, "setpriv")
	testbed.Slow(t, "builds portcheck")
	testbed.NeedUsers(t)
	if !testbed.Isolated(t) {
		return
	}
	m := regexp.MustCompile(`(?m)^AmbientCapabilities=(.*)$`).FindStringSubmatch(read(t, "portcheck-watch.service"))
	if m == nil {
		t.Fatal("the unit has no AmbientCapabilities")
	}
	rights := "-all"
	for _, name := range strings.Fields(m[1]) {
		rights += ",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_"))
	}
	holder, _ := testbed.Python(t, "import socket, time\ns = socket.socket()\ns.bind(('', 80))\ns.listen()\nprint('ready')\ntime.sleep(1000)")
	program := filepath.Join(t.TempDir(), "portcheck")
	text, err := os.ReadFile(testbed.Program())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(program); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	list := func(rights string) string {
		out, err := exec.Command("setpriv", "--reuid=64000", "--regid=64000", "--clear-groups", "--no-new-privs",
			"--inh-caps="+rights, "--ambient-caps="+rights, "--bounding-set="+rights, program, "list", "-t", "local", "-f", "json").Output()
		if err != nil {
			t.Fatalf("%s: %v", rights, err)
		}
		return string(out)
	}
	pid := fmt.Sprintf(`"pid": %s,`, strconv.Itoa(holder.Process.Pid))
	if out := list(rights); !strings.Contains(out, pid) {
		t.Errorf("with %s:\n%s", rights, out)
	}
	if out := list("-all"); strings.Contains(out, pid) {
		t.Errorf("without rights the holder is seen as well, so that this test shows nothing:\n%s", out)
	}
}
