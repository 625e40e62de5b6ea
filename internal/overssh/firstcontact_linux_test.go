package overssh

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// TestTheLineToAddIsWhole checks that the line which the first run suggests for
// the known hosts suffices for the next run, for all kinds and lengths of keys.
func TestTheLineToAddIsWhole(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		t.Run(kind, func(t *testing.T) {
			bits := map[string]string{"rsa": "4096", "ecdsa": "521", "ed25519": "256"}[kind]
			key := filepath.Join(t.TempDir(), "host")
			if out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-b", bits, "-N", "", "-f", key).CombinedOutput(); err != nil {
				testbed.Missing(t, fmt.Sprintf("needs openssh-client: %v\n%s", err, out))
			}
			algorithm := map[string]string{"rsa": "rsa-sha2-512", "ecdsa": "ecdsa-sha2-nistp521", "ed25519": "ssh-ed25519"}[kind]
			s := testbed.StartSSHD(t, "127.0.0.1:2200", "HostKey "+key, "HostKeyAlgorithms "+algorithm)
			overBoth(t, func(t *testing.T, client string) {
				known := write(t, "known_hosts", "# none yet\n")
				args := []string{"--ssh", client, "-t", "ssh://root@127.0.0.1:2200", "-i", s.UserKey, "--known-hosts", known, "-p", "8080"}
				first := portcheck(t, nil, args...)
				line, _, _ := strings.Cut(first.stdout, "\n")
				_, line, told := strings.Cut(line, "add this line to "+known+": ")
				line, ended := strings.CutSuffix(line, " [unknown]")
				if first.code != 3 || !told || !ended {
					t.Fatalf("exit code %d\n%s%s", first.code, first.stdout, first.stderr)
				}
				if err := os.WriteFile(known, []byte(line+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				if second := portcheck(t, nil, args...); second.code != 0 {
					t.Errorf("exit code %d after the line was added\n%s%s", second.code, second.stdout, second.stderr)
				}
			})
		})
	}
}
