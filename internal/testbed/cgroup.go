//go:build linux

package testbed

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// JoinCgroup is a shell script that makes the cgroup $0, enters it, and executes $@.
const JoinCgroup = `mkdir -p "$0"; echo $$ >"$0/cgroup.procs"; exec "$@"`

// Cgroup makes a cgroup in a slice of root's, delegates it to a user as systemd does,
// and returns its directory. The slice is removed with the test.
func Cgroup(t *testing.T, path string, uid int) string {
	t.Helper()
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/unified/cgroup.procs"); err == nil {
		root += "/unified"
	} else if _, err := os.Stat(root + "/cgroup.procs"); err != nil {
		Missing(t, "no cgroup v2")
	}
	slice := filepath.Join(root, fmt.Sprintf("portcheck-test-%d.slice", time.Now().UnixNano()))
	dir := filepath.Join(slice, path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		Missing(t, err.Error())
	}
	t.Cleanup(func() {
		var dirs []string
		for range 200 { // the processes are killed and leave in a moment
			dirs = nil
			_ = filepath.WalkDir(slice, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			for _, dir := range slices.Backward(dirs) {
				_ = os.Remove(dir) // what remains is tried again
			}
			if _, err := os.Stat(slice); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Errorf("cgroups remain: %q", dirs)
	})
	for _, file := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
		if err := os.Chown(filepath.Join(dir, file), uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
