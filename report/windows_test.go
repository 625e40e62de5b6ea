package report

import (
	"strings"
	"testing"

	"github.com/org/portcheck/check"
)

// On Windows a socket that is in no table is found by its own commands.
func TestUnlistedOnWindows(t *testing.T) {
	got := findOut(check.Result{OS: "windows", Unlisted: true})
	if strings.Contains(got.text, "sudo") || strings.Contains(got.text, "lsof") || got.command == "" {
		t.Errorf("%+v", got)
	}
}
