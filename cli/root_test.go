package cli

import (
	"context"
	"io"
	"strings"
	"testing"
)

// TestStartMakesWhatTheLineNames holds the cost of a start: the flags of all commands
// would be half a megabyte of it.
func TestStartMakesWhatTheLineNames(t *testing.T) {
	allocated := func(line string) float64 {
		return testing.AllocsPerRun(5, func() {
			Run(context.Background(), strings.Fields(line), nil, strings.NewReader(""), io.Discard, io.Discard)
		})
	}
	if one, all := allocated("version"), allocated("help version"); one > all/10 {
		t.Errorf("`version` makes %v allocations, and with all other commands %v", one, all)
	}
}

func TestCommandAfterFlags(t *testing.T) {
	for _, line := range []string{"-f json lint FILE", "--format json lint FILE", "lint -f json FILE", "lint FILE -fjson", "-f=json lint FILE"} {
		var out, errs strings.Builder
		line = strings.ReplaceAll(line, "FILE", "../testdata/shop/portcheck.yml")
		code := Run(context.Background(), strings.Fields(line), nil, strings.NewReader(""), &out, &errs)
		if code != exitOK || !strings.HasPrefix(out.String(), "{") || errs.Len() > 0 {
			t.Errorf("portcheck %s: exit code %d, prints %q and %q", line, code, &out, &errs)
		}
	}
}
