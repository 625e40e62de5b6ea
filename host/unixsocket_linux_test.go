package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// listensHere is a program that prints what ListensHere returns.
func listensHere(args []string) error {
	fmt.Print(ListensHere(context.Background(), args[0]))
	return nil
}

// A unix socket belongs to a network namespace by its listener, whatever its path is.
func TestListensHere(t *testing.T) {
	if !inParallel(t) {
		return
	}
	l := testbed.ListenUnix(t)
	path := l.Addr().String()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for pid, want := range map[int]bool{os.Getpid(): true, os.Getppid(): false} {
		if got := ListensAt(t.Context(), pid, link); got != want {
			t.Errorf("pid %d listens: %t, want %t", pid, got, want)
		}
	}
	if ListensAt(t.Context(), os.Getpid(), path+"x") {
		t.Error("listens at no socket")
	}
	want := func(what string, faults testbed.Faults, path string, want bool) {
		t.Helper()
		if got := string(testbed.RunProgram(t, "listens-here", faults, path)); got != fmt.Sprint(want) {
			t.Errorf("%s: %s, want %t", what, got, want)
		}
	}
	denied := testbed.Faults{Deny: []testbed.Denial{denyNetlink}}
	want("its path", testbed.Faults{}, path, true)
	want("a link", testbed.Faults{}, link, true)
	want("its path, without netlink", denied, path, true)
	want("a link, without netlink", denied, link, true)
	want("no socket", testbed.Faults{}, path+"x", false)
	other := testbed.Faults{OwnNet: true}
	want("from another namespace", other, path, false)
	other.Deny = denied.Deny
	want("from another namespace, without netlink", other, path, false)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want("another file", testbed.Faults{}, path, false)
	want("its new path", testbed.Faults{}, path+".old", true)
}
