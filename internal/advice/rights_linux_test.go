package advice

import (
	"os"
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
