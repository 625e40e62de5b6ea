package host

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"github.com/org/portcheck/host/nat"
)

func TestRuleGaps(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&nat.Unreadable{Op: "get", Err: syscall.EPERM, Possible: true}, RulesUnread + ": that needs root or CAP_NET_ADMIN get EPERM"},
		{&nat.Unreadable{Op: "get", Err: syscall.EPERM}, ""},
		{&nat.Unreadable{Op: "receive", Err: context.DeadlineExceeded, Possible: true}, RulesUnread + " receive timeout"},
		{errors.New("odd"), RulesUnread + " read odd"},
	} {
		got := ""
		for _, g := range ruleGaps(c.err) {
			got += g.What + " " + g.Op + " " + g.Errno
		}
		if got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}
