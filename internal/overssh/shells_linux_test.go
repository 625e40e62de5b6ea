package overssh

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// TestLoginShells checks that portcheck runs under every login shell, also if the
// startup files print text before and after.
func TestLoginShells(t *testing.T) {
	if !isolated(t) {
		return
	}
	testbed.NeedUsers(t)
	testbed.Python(t, holders)
	shells := map[string]string{} // by user name
	for _, name := range []string{"bash", "dash", "zsh", "tcsh"} {
		path, err := exec.LookPath(name)
		if err != nil {
			testbed.Missing(t, "needs "+name)
		}
		shells[name] = path
		shells[name+"-loud"] = path
	}
	dir := root(t)
	users(t, dir, shells)
	banner := strings.Repeat("echo 'Welcome to a host of ours, and to its rules: portcheck-hello'\n", 150)
	sh := banner + "trap 'echo bye; rm -rf $HOME/none' EXIT\nprintf unfinished\n"
	for name := range shells {
		if !strings.HasSuffix(name, "-loud") {
			continue
		}
		for file, text := range map[string]string{".bashrc": sh, ".zshenv": sh, ".tcshrc": banner + "printf unfinished\n"} {
			if err := os.WriteFile(filepath.Join(dir, name, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	there := install(t, dir)
	s := testbed.StartSSHD(t, "", "SetEnv LANG=C") // users keep their own homes
	args := append([]string{"-f", "json", "-p", "8080", "-p", "8900"}, reach(t, s)...)
	for name := range shells {
		args = append(args, "-t", "ssh://"+name+"@127.0.0.1")
	}
	for how, more := range map[string][]string{"sent": nil, "kept": {"--agent-cache"}, "installed": {"--remote-path", there}} {
		r := portcheck(t, nil, append(args, more...)...)
		got := parse(t, r)
		if r.code != 1 || len(got.Results) != 2*len(shells) {
			t.Fatalf("%s: exit code %d\n%s%s", how, r.code, r.stdout, r.stderr)
		}
		for _, x := range got.Results {
			want := "free"
			if strings.Contains(x.ID, "tcp-8080@") {
				want = "in-use"
			}
			if x.Status != want || x.Method != "bind+table" {
				t.Errorf("%s: %+v", how, x)
			}
		}
	}
	nothingLeft(t, "all shells")
}
