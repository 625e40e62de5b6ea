package cli

import (
	"bytes"
	"strings"
	"testing"
)

// What `eval "$(portcheck assign -f shell)"` runs fails if portcheck does, and nothing else
// gets such a line.
func TestFailuresForAShell(t *testing.T) {
	for _, c := range []struct {
		args  string
		shell bool
	}{
		{"assign -f shell --wrong", true},
		{"assign --wrong -f shell", true},
		{"assign -w -f shell", true},
		{"assign --timeout long -f shell", true},
		{"assign -fshell --wrong", true},
		{"assign -f=shell --wrong", true},
		{"assign --format shell --wrong", true},
		{"assign --wrong --format=shell", true},
		{"assign --wrong -qf shell", true},
		{"assign --wrong -qfshell", true},
		{"assign a.yml --wrong -f shell", true},
		{"assign -f json -f shell --wrong", true},
		{"assign -f shell -p", true},
		{"assign -f shell missing.yml", true},
		{"assign -f shell -- -f json", true},
		{"-q assign -f shell --wrong", true},

		{"assign -- -f shell", false},
		{"assign --wrong -- -f shell", false},
		{"assign -f shell -f json --wrong", false},
		{"assign --job -f shell --wrong", false},
		{"assign -o -f shell --wrong", false},
		{"assign --wrong shell", false},
		{"assign --wrong f shell", false},
		{"assign -f json --wrong=-fshell", false},
		{"assign -p --format=shell --wrong", false},
		{"assign --wrong -f", false},
		{"leases --wrong -f shell", false},
		{"--wrong -f shell", false},
	} {
		t.Chdir(t.TempDir())
		var stdout, stderr bytes.Buffer
		code := Run(t.Context(), strings.Fields(c.args), nil, strings.NewReader(""), &stdout, &stderr)
		if code == exitOK || stderr.Len() == 0 || (stdout.String() == "false\n") != c.shell || !c.shell && stdout.Len() > 0 {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", c.args, code, stdout.String(), stderr.String())
		}
	}
}
