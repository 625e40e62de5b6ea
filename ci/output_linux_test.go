package ci

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestWriteErrors(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]error{"/dev/full": syscall.ENOSPC, pipe: syscall.ESPIPE} {
		env := Env{"GITHUB_OUTPUT": file, "GITHUB_STEP_SUMMARY": file}
		if err := WriteOutputs(env, Output{"ok", "true"}); !errors.Is(err, want) || !strings.HasPrefix(err.Error(), "GITHUB_OUTPUT: ") {
			t.Errorf("output to %s: got %v, want %v", file, err, want)
		}
		if err := AppendSummary(env, "# x"); !errors.Is(err, want) || !strings.HasPrefix(err.Error(), "GITHUB_STEP_SUMMARY: ") {
			t.Errorf("summary to %s: got %v, want %v", file, err, want)
		}
	}
}
