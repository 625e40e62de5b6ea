package advice

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
)

// asNobody is where a user without rights runs portcheck.
var asNobody = place{prefix: []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"}}

// Message and remedy speak of the same limit of privileged ports.
func TestRemedyOfADeniedPort(t *testing.T) {
	if !isolated(t) {
		return
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("20000"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := asNobody.check(t, "--port", "8080")[0]
	if r.Status != check.Denied {
		t.Fatalf("%s: %s", r.Status, r.Message)
	}
	wants(t, r.Message, "ports below 20000")
	wants(t, remedy(t, r).Text, "CAP_NET_BIND_SERVICE", "not", "need no privilege")
	place{}.follow(t, "8080", r)
	if r := asNobody.check(t, "--port", "8080")[0]; r.Status != check.Free {
		t.Errorf("after the remedy: %s: %s", r.Status, r.Message)
	}
}

// A port that the app's user may not bind is denied also while another process, or the
// app's old instance, has it.
func TestRemedyOfADeniedPortThatIsTaken(t *testing.T) {
	for name, c := range map[string]struct {
		owner string
		want  []string // of the message
		stops bool
	}{
		"by another":     {"", []string{"may not be bound by nobody", "in use by python3 (pid PID, user root)"}, true},
		"by a foreigner": {", owner: {process: nginx}", []string{"may not be bound by nobody", "in use by python3 (pid PID, user root)"}, true},
		"by the owner":   {`, owner: {process: "python3*"}`, []string{"may not be bound by nobody", "its owner, python3 (pid PID, user root), has it now"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if !isolated(t) {
				return
			}
			pid := python(t, listenScript, "81")
			manifest := filepath.Join(t.TempDir(), "portcheck.yml")
			writeManifest(t, manifest, "{name: web, port: 81, address: 127.0.0.1, run_as: nobody"+c.owner+"}")
			r := place{}.check(t, manifest)[0]
			if r.Status != check.Denied || r.OK {
				t.Fatalf("%s: %s", r.Status, r.Message)
			}
			for _, part := range c.want {
				wants(t, r.Message, strings.ReplaceAll(part, "PID", fmt.Sprint(pid)))
			}
			text := remedy(t, r).Text
			wants(t, text, "ip_unprivileged_port_start=81`")
			if got := strings.Contains(text, fmt.Sprintf("`kill %d`", pid)); got != c.stops {
				t.Errorf("stops the holder: %v, want %v: %s", got, c.stops, text)
			}
		})
	}
}
