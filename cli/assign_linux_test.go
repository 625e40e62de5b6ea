package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/internal/testbed"
)

// inDir runs portcheck in a directory and returns what it prints to stdout.
func inDir(dir string, env []string, args ...string) (string, error) {
	cmd := program(env, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("portcheck %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out), err
}

func mustInDir(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := inDir(dir, nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func writeText(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// often returns how often a race is tried: few times, or many more in the nightly tests.
func often(few int) int {
	if n, err := strconv.Atoi(os.Getenv("PORTCHECK_TEST_LEASES")); err == nil && n > 0 {
		return few * n
	}
	return few
}

// TestManyJobsForExactlyAllPorts starts many jobs at once, of which the ranges have room
// for exactly all. Each gets its ports, none is in two of them, and a witness can bind
// none.
func TestManyJobsForExactlyAllPorts(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	const jobs = 64
	dir := t.TempDir()
	writeText(t, filepath.Join(dir, "portcheck.yml"), "version: 1\napp: shop\nrange: 20000-20191\nports: [{name: a, port: 20000}, {name: b, port: 20001}, {name: c, port: 20002}]\n")
	schema, err := jsonschema.NewCompiler().Compile("../schema/assignment.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for range often(1) {
		var all sync.WaitGroup
		var mu sync.Mutex
		taken := map[uint16]string{}
		for i := range jobs {
			all.Go(func() {
				name := fmt.Sprint("job ", i)
				out, err := inDir(dir, nil, "assign", "-f", "json", "--job", name)
				mu.Lock()
				defer mu.Unlock()
				var a check.Assignment
				if err == nil {
					err = json.Unmarshal([]byte(out), &a)
				}
				if v, bad := jsonschema.UnmarshalJSON(strings.NewReader(out)); err == nil && bad == nil {
					err = schema.Validate(v)
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				for _, p := range a.Ports {
					if other, twice := taken[p.Port]; twice {
						t.Errorf("%d is %s's and %s's", p.Port, other, name)
					}
					taken[p.Port] = name
				}
			})
		}
		all.Wait()
		if len(taken) != 3*jobs {
			t.Errorf("%d ports were assigned, want %d", len(taken), 3*jobs)
		}
		for p := range taken {
			l, err := net.Listen("tcp", fmt.Sprint("0.0.0.0:", p))
			if err != nil {
				t.Fatalf("a server can't start on its leased port: %v", err)
			}
			l.Close()
		}
		mustInDir(t, dir, "release", "--all")
		if out := mustInDir(t, dir, "leases"); strings.Count(out, "\n") != 1 {
			t.Fatalf("leases are left:\n%s", out)
		}
	}
}

// The needs of a manifest have one range: what can be chosen from it is computed once.
func TestAssignManyNeeds(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	const many = 2500
	text := "version: 1\nrange: 1024-65535\nports:\n"
	for i := range many {
		text += fmt.Sprintf("  - {name: n%d, port: auto}\n", i)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "many.yml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := program(nil, "assign", "--job", "many", "-f", "json", "many.yml")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	defer mustInDir(t, dir, "release", "--job", "many")
	var a check.Assignment
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatal(err)
	}
	ports := map[uint16]bool{}
	for _, p := range a.Ports {
		ports[p.Port] = true
	}
	if used := cmd.ProcessState.UserTime(); len(ports) != many || used > 2500*time.Millisecond {
		t.Errorf("%d ports for %d needs took %s of processor time", len(ports), many, used)
	}
}
