package config

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const manifests = "../testdata/manifests"

// golden compares got with a golden file. The flag -update rewrites it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got, -update rewrites):\n%s", file, diff)
	}
}

// inDirectory runs f for each manifest of a directory of testdata, in that directory.
func inDirectory(t *testing.T, dir string, f func(t *testing.T, name string)) {
	t.Helper()
	t.Chdir(filepath.Join(manifests, dir))
	names, err := filepath.Glob("*.yml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(name, ".yml"), func(t *testing.T) { f(t, name) })
	}
}

// lines returns the problems as a text with one line each.
func lines(found []Problem) string {
	var b strings.Builder
	for _, p := range found {
		b.WriteString(p.Error() + "\n")
	}
	return b.String()
}

func TestValid(t *testing.T) {
	inDirectory(t, "valid", func(t *testing.T, name string) {
		all, found := Load([]string{name}, nil, Options{})
		if len(found) > 0 {
			t.Fatalf("a valid manifest has problems:\n%s", lines(found))
		}
		got, err := json.MarshalIndent(all[0], "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, strings.TrimSuffix(name, ".yml")+".golden", string(got)+"\n")
	})
}

func TestInvalid(t *testing.T) {
	inDirectory(t, "invalid", func(t *testing.T, name string) {
		all, found := Load([]string{name}, nil, Options{})
		if len(found) == 0 {
			t.Fatal("an invalid manifest has no problems")
		}
		if all != nil {
			t.Error("Load returned a manifest with problems")
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range found {
			checkProblem(t, p, data)
		}
		golden(t, strings.TrimSuffix(name, ".yml")+".golden", lines(found))
	})
}
