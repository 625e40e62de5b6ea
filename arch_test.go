package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/org/portcheck"

// arrows lists the packages of this module that each package may import. Imports
// run one way: main, cli, report, check, then transport, config and host, then
// port.
var arrows = map[string][]string{
	"":                 {"cli"},
	"cli":              {"check", "ci", "config", "host", "host/lease", "host/wire", "internal/metrics", "internal/panics", "internal/within", "port", "report", "transport"},
	"report":           {"check", "config", "port"},
	"check":            {"config", "host", "host/lease", "internal/panics", "port"},
	"transport":        {"config", "host", "host/wire", "internal/panics", "internal/peer", "internal/within", "port"},
	"config":           {"internal/within", "port"},
	"host":             {"ci", "host/lease", "host/nat", "internal/panics", "internal/peer", "port"},
	"host/nat":         {"host/internal/kernelfile", "host/internal/netlink", "port"},
	"host/lease":       {"host/internal/netlink", "port"},
	"host/wire":        {"host"},
	"ci":               {},
	"port":             {},
	"internal/metrics": {},
	"internal/panics":  {},
	"internal/peer":    {},
	"internal/within":  {},
	"internal/testbed": {},
	"internal/oracle":  {},
	// These contain only tests.
	"internal/fleets":     {},
	"internal/acceptance": {},
	"internal/advice":     {},
	"internal/callers":    {},
	"internal/overssh":    {},
	"internal/hooks":      {},
	"internal/install":    {},
	"internal/pipelines":  {},
	"internal/monitoring": {},
	"schema":              {},
}

// confined lists the only packages that may import a dependency. Nothing outside
// of transport uses HTTP or SSH, for example.
var confined = map[string][]string{
	"net/http":                           {"internal/metrics", "transport/internal/engine"},
	"golang.org/x/crypto/ssh":            {"transport/internal/sshlink", "internal/testbed"},
	"github.com/skeema/knownhosts":       {"transport/internal/sshlink"},
	"gopkg.in/yaml.v3":                   {"config"},
	"github.com/spf13/cobra":             {"cli"},
	"github.com/hashicorp/go-multierror": {"cli"},
	"github.com/shirou/gopsutil/v4":      {"host"},
	"github.com/docker/go-connections":   {"config"},
	// The oracles of tests.
	"github.com/compose-spec/compose-go": {},
	"github.com/sirupsen/logrus":         {},
}

func TestImportsRunOneWay(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		for _, p := range packages(t, goos) {
			name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
			allowed, known := arrows[name]
			if !known {
				parent := name[:max(strings.LastIndex(name, "/internal/"), 0)]
				if _, inner := arrows[parent]; !inner || parent == "" {
					t.Errorf("%s: package %s is not in arrows: list what it may import", goos, p.ImportPath)
				}
				continue
			}
			for _, i := range p.Imports {
				own, ours := strings.CutPrefix(i, module+"/")
				if ours && !slices.Contains(allowed, own) && !strings.HasPrefix(own, name+"/internal/") {
					t.Errorf("%s: %s imports %s; of this module it may import %v", goos, p.ImportPath, i, allowed)
				}
				for path, users := range confined {
					if (i == path || strings.HasPrefix(i, path+"/")) && !slices.Contains(users, name) {
						t.Errorf("%s: %s imports %s, which only %v may", goos, p.ImportPath, i, users)
					}
				}
			}
		}
	}
}

// TestHostAloneHoldsPorts checks that only a host starts keepers and asks them, so that
// this works on every kind of target. Others use the types and names of host/lease.
func TestHostAloneHoldsPorts(t *testing.T) {
	allowed := map[string][]string{
		"check":         {"Name", "Request", "Want"},
		"cli/assign.go": {"Name"},
		"cli/keep.go":   {"CloseInherited", "Detach", "Independent", "Keep"},
	}
	use := regexp.MustCompile(`\blease\.([A-Z]\w*)`)
	for _, dir := range []string{"check", "cli", "report", "transport"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(file, "_test.go") || !strings.Contains(string(text), `"`+module+`/host/lease"`) {
				continue
			}
			for _, m := range use.FindAllStringSubmatch(string(text), -1) {
				if !slices.Contains(allowed[dir], m[1]) && !slices.Contains(allowed[file], m[1]) {
					t.Errorf("%s uses lease.%s: ask the host by host.Hold", file, m[1])
				}
			}
		}
	}
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Doc        string
}

func packages(t *testing.T, goos string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Doc", "./...")
	cmd.Env = append(cmd.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestEveryPackageStatesItsPurpose(t *testing.T) {
	for _, p := range packages(t, "linux") {
		if p.Doc == "" {
			t.Errorf("%s: the package has no doc comment", p.ImportPath)
		}
	}
}

// TestDocumentsNameTestsThatExist checks the tables of faults and of promises. Each
// row names at least one test, in the form "PACKAGE: `TEST`, `TEST`".
func TestDocumentsNameTestsThatExist(t *testing.T) {
	for document, cell := range map[string]int{"docs/reliability.md": 3, "docs/security.md": 2} {
		rows := 0
		for line := range strings.Lines(readText(t, document)) {
			cells := strings.Split(line, " | ")
			if !strings.HasPrefix(line, "| ") || len(cells) != cell || strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| fault |") || strings.HasPrefix(line, "| promise |") {
				continue
			}
			rows++
			dir, names, _ := strings.Cut(cells[cell-1], ": ")
			tests := aTestName.FindAllStringSubmatch(names, -1)
			if len(tests) == 0 {
				t.Errorf("%s: no test in %s", document, line)
			}
			files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			var code strings.Builder
			for _, f := range files {
				code.WriteString(readText(t, f))
			}
			for _, m := range tests {
				if !strings.Contains(code.String(), "\nfunc "+m[1]+"(") {
					t.Errorf("%s: there is no %s in %s", document, m[1], dir)
				}
			}
		}
		if rows == 0 {
			t.Errorf("%s has no table of tests", document)
		}
	}
}

// TestSkipsGoThroughTestbed checks that tests skip by testbed.Missing or
// testbed.Slow. A plain t.Skip would pass where PORTCHECK_TEST_MUST_RUN is set.
func TestSkipsGoThroughTestbed(t *testing.T) {
	plain := regexp.MustCompile(`\bt\.Skip(f|Now)?\(`)
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(file)
		if entry.IsDir() && (name == "internal/testbed" || strings.HasPrefix(entry.Name(), ".") && name != ".") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(text), "\n") {
			if plain.MatchString(line) {
				t.Errorf("%s:%d: use testbed.Missing or testbed.Slow instead of t.Skip", name, i+1)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
