//go:build linux

package testbed

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// programEnv names the file of portcheck. It is built once, before tests start the
// test binary again in namespaces of their own.
const programEnv = "PORTCHECK_TEST_BINARY"

// MainWithProgram is Main for tests that run portcheck itself. It is not built for
// -short, under which such tests are skipped.
func MainWithProgram(m *testing.M) {
	flag.Parse() // for testing.Short
	if testing.Short() || os.Getenv(programEnv) != "" {
		Main(m, nil)
	}
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// Program returns the path of portcheck, which every user may run.
func Program() string { return os.Getenv(programEnv) }

func buildAndRun(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "portcheck-program-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "portcheck")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", binary, "github.com/org/portcheck")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, out)
	}
	for _, path := range []string{dir, binary} {
		if err := os.Chmod(path, 0o755); err != nil {
			return 0, err
		}
	}
	if err := os.Setenv(programEnv, binary); err != nil {
		return 0, err
	}
	return m.Run(), nil
}
