package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// TestTheCauseOfATargetIsSaidOnce checks that the text says once why a target failed,
// with the needs that could not be checked for it.
func TestTheCauseOfATargetIsSaidOnce(t *testing.T) {
	const reason = "connect: 192.0.2.1:22: connection\x1b refused"
	r := check.Report{Targets: []check.TargetReport{
		{Name: "app1", Notices: []check.Notice{{Code: "degraded", Message: reason}}},
		{Name: "app2", Notices: []check.Notice{{Code: "degraded", Message: reason}}},
	}}
	for i := range 15 {
		for _, target := range []string{"app1", "app2"} {
			x := check.Result{
				Name: fmt.Sprintf("n%d", i), Target: target, Protocol: "tcp", Status: check.Unknown, Severity: config.SeverityError,
				Message: "tcp 80 could not be checked: " + reason,
			}
			x.ID = x.Name + "@" + x.Target + "/tcp"
			switch i {
			case 1:
				x.Message = "tcp 80 could not be checked: of its own"
			case 2:
				x.Severity = config.SeverityWarning
			}
			r.Results = append(r.Results, x)
		}
	}
	for _, width := range []int{0, 100} {
		got := inAllFormats(t, r, Options{Width: width})["text"]
		got = strings.Join(strings.Fields(got), " ")
		for want, count := range map[string]int{
			`error: n0@app1: tcp 80 could not be checked: connect: 192.0.2.1:22: connection\x1b refused [unknown]`:                                  1,
			`error: n0@app2: tcp 80 could not be checked: connect: 192.0.2.1:22: connection\x1b refused [unknown]`:                                  1,
			"n1@app1: tcp 80 could not be checked: of its own":                                                                                      1,
			"for the same reason not checked on app1: n3/tcp, n4/tcp, n5/tcp, n6/tcp, n7/tcp, n8/tcp, n9/tcp, n10/tcp, n11/tcp, n12/tcp and 2 more": 1,
			"warning: n2@app2: ": 1,
			"refused":            4, // error and warning of each
		} {
			if strings.Count(got, want) != count {
				t.Errorf("width %d: want %d times %q:\n%s", width, count, want, got)
			}
		}
	}
}
