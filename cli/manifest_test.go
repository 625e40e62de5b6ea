package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// A manifest that is edited while its ports are chosen may have another need where one
// was. It stays as it is, and so do the other manifests.
func TestManifestThatIsEditedMeanwhile(t *testing.T) {
	const before = "version: 1\napp: shop\nports:\n  - name: web\n    port: 3000\n"
	const edited = "version: 1\napp: shop\nports:\n  - name: ssh\n    port: 22\n  - name: web\n    port: 3000\n"
	dir := t.TempDir()
	t.Chdir(dir)
	var needs []check.Need
	assignment := check.Assignment{}
	for _, name := range []string{"a.yml", "b.yml"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		at := config.Position{File: file, Line: 5, Column: 11}
		needs = append(needs, check.Need{Port: config.Port{At: at, Name: "web", Ports: port.One(3000)}})
		assignment.Ports = append(assignment.Ports, check.AssignedPort{Name: "web", Port: 3001, Source: at})
	}
	a := &app{env: ci.Env{}, stderr: io.Discard}
	texts, err := a.mayWrite(t.Context(), needs, &assignOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(needs[1].At.File, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.writeManifests(t.Context(), assignment, texts, true); err == nil || !strings.Contains(err.Error(), "b.yml was edited while the ports were chosen") {
		t.Errorf("got %v", err)
	}
	for i, want := range []string{before, edited} {
		if got, err := os.ReadFile(needs[i].At.File); err != nil || string(got) != want {
			t.Errorf("%s is now %q, %v", needs[i].At.File, got, err)
		}
	}
	if texts, err = a.mayWrite(t.Context(), needs[:1], &assignOptions{}); err != nil {
		t.Fatal(err)
	}
	assignment.Ports = assignment.Ports[:1]
	if err := a.writeManifests(t.Context(), assignment, texts, true); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(needs[0].At.File); err != nil || string(got) != strings.Replace(before, "3000", "3001", 1) {
		t.Errorf("written: %q, %v", got, err)
	}
}
