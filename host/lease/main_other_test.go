//go:build !linux

package lease

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	name := os.Getenv(testProgramEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	err := fmt.Errorf("no program %q", name)
	if name == "keeper" {
		CloseInherited()
		err = Keep(context.Background(), os.Stdin, os.Stdout, Detach)
	} else if run := mechanismPrograms[name]; run != nil {
		err = run(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// isolated gives the test a directory for temporary files of its own.
func isolated(t *testing.T) bool {
	t.Helper()
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, t.TempDir())
	}
	return true
}

func soon() time.Time { return time.Now().Add(10 * time.Second) }
