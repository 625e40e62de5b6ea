package remote

import (
	"path/filepath"
	"testing"
)

// Without its variable no directory is known: a relative one could be that of a checkout.
func TestSystemDirOnWindows(t *testing.T) {
	for name, want := range map[string]string{"ProgramData": filepath.Join("D", "ssh"), "PROGRAMDATA": filepath.Join("D", "ssh"), "Other": ""} {
		if got := systemDirOn("windows", map[string]string{name: "D", "HOME": "H"}); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := systemDirOn("windows", map[string]string{"ProgramData": ""}); got != "" {
		t.Errorf("empty: %q", got)
	}
}
