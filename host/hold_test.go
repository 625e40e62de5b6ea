package host

import (
	"os"
	"runtime"
	"testing"

	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/port"
)

// On Windows a lease has no uid, and is that of this user.
func TestLeasesOfThisUserAreOurs(t *testing.T) {
	held := []lease.Held{{Lease: lease.Lease{ID: "a", Job: "seven", PID: 812, UID: os.Geteuid()}, Protocol: port.TCP, Port: 8080}}
	all := describeLeases(held, "seven")
	if len(all) != 1 || !all[0].Ours || !all[0].Own || runtime.GOOS == "windows" && all[0].User == "" {
		t.Errorf("%+v", all)
	}
}
