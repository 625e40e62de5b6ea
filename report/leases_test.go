package report

import (
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

// The columns are aligned by what a terminal shows, not by characters.
func TestLeaseTablesAreAligned(t *testing.T) {
	expires := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	uid := 1000
	l := check.Leases{Leases: []check.ListedLease{
		{Lease: check.Lease{ID: "a1", Job: "語語語", App: "shop", PID: 812, UID: &uid, Expires: expires}, Ports: []check.LeasedPort{{Protocol: port.TCP, Port: 8080, Name: "web"}}},
		{Lease: check.Lease{ID: "b2", Job: "e2e", App: "blog", User: "ci"}},
	}}
	for _, c := range []struct {
		name  string
		write func(*strings.Builder) error
		want  string
	}{
		{"leases", func(b *strings.Builder) error { return leasesText(b, l, Options{}) }, `ID  JOB     APP   KEEPER  USER  UNTIL                 PORTS
a1  語語語  shop  812     1000  2026-01-02T03:04:05Z  web 8080/tcp
b2  e2e     blog  ?       ci    ?
`},
		{"no leases", func(b *strings.Builder) error { return leasesText(b, check.Leases{}, Options{}) }, "ID  JOB  APP  KEEPER  USER  UNTIL  PORTS\n"},
		{"assignment", func(b *strings.Builder) error {
			return assignmentText(b, check.Assignment{
				Lease: check.AssignedLease{Job: "e2e", Expires: expires},
				Ports: []check.AssignedPort{
					{App: "店", Name: "web", Protocol: []port.Protocol{port.TCP}, Port: 8081, Env: "WEB_PORT", Declared: 8080, Reason: "tcp 8080 is in use"},
					{App: "blog", Name: "web", Protocol: []port.Protocol{port.TCP, port.UDP}, Port: 9000, PortLast: 9003, Env: "PORT"},
				},
			}, Options{})
		}, `店/web    8081/tcp           WEB_PORT  instead of 8080: tcp 8080 is in use
blog/web  9000-9003/tcp,udp  PORT
leased to e2e until 2026-01-02T03:04:05Z, or until ` + "`portcheck release`" + `
`},
	} {
		var b strings.Builder
		if err := c.write(&b); err != nil || b.String() != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.name, err, b.String(), c.want)
		}
	}
}

// A list of leases fits the terminal: what matters least is left out first.
func TestLeasesFit(t *testing.T) {
	lease := check.ListedLease{Lease: check.Lease{ID: "a1b2c3d4e5f6", Job: "/home/ann/work/shop (fe00:c8e021)", App: "shop", PID: 812, User: "ann", Expires: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	for n := range 4 {
		lease.Ports = append(lease.Ports, check.LeasedPort{Protocol: port.TCP, Port: uint16(8100 + n), Name: "workers"})
	}
	lease.Ports = append(lease.Ports, check.LeasedPort{Protocol: port.UDP, Port: 8104, Name: "workers"})
	other := lease
	other.Target = "app1"
	for _, l := range []check.Leases{{Leases: []check.ListedLease{lease}}, {Leases: []check.ListedLease{lease, other}}} {
		for _, width := range []int{40, 60, 80, 120, 200} {
			var b strings.Builder
			if err := leasesText(&b, l, Options{Width: width}); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(b.String()) {
				if n := columns(strings.TrimSuffix(line, "\n")); n > width {
					t.Errorf("%d columns of %d: %s", n, width, line)
				}
			}
			for _, want := range []string{"a1b2c3d4e5f6", "8100-8103/tcp"} {
				if !strings.Contains(b.String(), want) {
					t.Errorf("no %s at %d columns:\n%s", want, width, &b)
				}
			}
		}
	}
}
