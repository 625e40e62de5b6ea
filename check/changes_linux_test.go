package check

import (
	"path/filepath"
	"testing"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// Real processes: a restart is no change, another user, executable or unit is one. A
// need explains only an owner that is proven.
func TestRealProcessesChangeHands(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	testbed.NeedUsers(t)
	python, err := filepath.EvalSymlinks("/usr/bin/python3")
	if err != nil {
		testbed.Missing(t, err.Error())
	}
	unit := testbed.Cgroup(t, "portcheck-app.service", 0)
	copied := filepath.Join(directory(t, 0), "other")
	copyFile(t, python, copied)
	own := filepath.Join(directory(t, nobody), "own")
	copyFile(t, python, own)
	listing := func(name string, listen func(t *testing.T)) (l Listing) {
		t.Run(name, func(t *testing.T) { // its end is that of the process
			listen(t)
			l, err = List(t.Context(), targetOf("local", host.Local{}), Options{})
			if err != nil {
				t.Fatal(err)
			}
		})
		return l
	}
	running := func(uid uint32, cgroup, program string) func(*testing.T) {
		return func(t *testing.T) { start(t, uid, cgroup, program, "-c", listenScript) }
	}
	base := listing("base", running(0, "", python))
	for _, c := range []struct {
		name   string
		listen func(*testing.T)
		want   ChangeKind
		owner  config.Owner // that explains it, or would if it were proven
		proven bool
	}{
		{"a restart", running(0, "", python), "", config.Owner{}, false},
		{"another user", running(nobody, "", python), ChangedHands, config.Owner{User: "nobody"}, true},
		{"another executable", running(0, "", copied), ChangedHands, config.Owner{Executable: copied}, true},
		{"another unit", running(0, unit, python), ChangedHands, config.Owner{Unit: "portcheck-app.service"}, true},
		{"another owner", running(0, unit, python), ChangedHands, config.Owner{Unit: "nginx.service"}, false},
		{"a forged executable", func(t *testing.T) {
			start(t, nobody, "", "unshare", "-Urm", "sh", "-ec", `mount --bind "$0" "$1"; exec "$1" -c "$2"`, own, victim, listenScript)
		}, ChangedHands, config.Owner{Executable: victim}, false},
	} {
		now := listing(c.name, c.listen)
		need := config.Port{At: config.Position{File: "portcheck.yml", Line: 1, Column: 1}, Ports: port.One(8080), Protocols: []port.Protocol{port.TCP}, Addresses: []port.Address{port.Loopback}, Expect: config.Free, Owner: []config.Owner{c.owner}}
		for _, needs := range [][]config.Port{nil, {need}} {
			d := NewDiff(base, now, Explanations{Needs: needs}, CompareOptions{})
			explained := c.proven && needs != nil
			switch {
			case c.want == "" && (len(d.Changes) > 0 || d.Summary.Same != 1):
				t.Errorf("%s: %+v", c.name, d)
			case c.want != "" && (len(d.Changes) != 1 || d.Changes[0].Kind != c.want || d.OK != explained || d.Changes[0].Anomaly == explained):
				t.Errorf("%s, explained %v: %+v", c.name, explained, d.Changes)
			}
		}
	}
}
