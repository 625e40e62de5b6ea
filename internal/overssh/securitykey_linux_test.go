package overssh

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

// TestSecurityKeys checks that OpenSSH's client logs in with a FIDO key where `ssh`
// does, and what is said where the key can't sign.
func TestSecurityKeys(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	testbed.NeedUsers(t)
	dir := userHome(t)
	there := install(t, root(t))
	provider := securityKey(t)
	keys := t.TempDir()
	var public string
	for name, option := range map[string]string{"plain": "application=ssh:", "pin": "verify-required", "untouched": "application=ssh:untouched", "unplugged": "application=ssh:unplugged", "stranger": "application=ssh:"} {
		file := filepath.Join(keys, name)
		keygen(t, "-q", "-t", "ed25519-sk", "-w", provider, "-O", option, "-N", "", "-f", file)
		if name != "stranger" {
			public += read(t, file+".pub")
		}
	}
	s := testbed.StartSSHD(t, "127.0.0.1:2201")
	if err := os.WriteFile(s.UserKey+".pub", []byte(public), 0o644); err != nil {
		t.Fatal(err)
	}
	known := s.KnownHosts(t)
	base := "Host app\n HostName 127.0.0.1\n Port 2201\n User deploy\n IdentitiesOnly yes\n UserKnownHostsFile " + known + "\n"
	option := "SecurityKeyProvider " + provider + "\n"
	file := func(name string) string { return "IdentityFile " + filepath.Join(keys, name) + "\n" }
	for _, c := range []struct {
		name   string
		text   string // of the configuration, before base
		env    []string
		args   []string // of both
		reason string   // of the refusal; "" if the host is reached
	}{
		{name: "SecurityKeyProvider", text: option + file("plain")},
		{name: "SSH_SK_PROVIDER", text: "SecurityKeyProvider $SSH_SK_PROVIDER\n" + file("plain"), env: []string{"SSH_SK_PROVIDER=" + provider}},
		{name: "--identity beside another", text: option + file("stranger"), args: []string{"-i", filepath.Join(keys, "plain")}},
		{name: "a PIN", text: option + file("pin"), reason: "but it can't sign: incorrect passphrase supplied to decrypt private key: connect the security key, or touch it in time; one that wants a PIN can't be used"},
		{name: "no device", text: option + file("unplugged"), reason: "but it can't sign: device not found: connect the security key"},
		{name: "a key of nobody", text: option + file("stranger"), reason: "the host accepts none of them for this user"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "config"), []byte(c.text+base), 0o600); err != nil {
				t.Fatal(err)
			}
			reached, said, r := besideSSH(t, append([]string{"HOME=" + filepath.Dir(dir)}, c.env...), append([]string{"app"}, c.args...), append([]string{"-t", "ssh://app", "--remote-path", there}, c.args...), s)
			if reached != (c.reason == "") {
				t.Fatalf("ssh: %s", said)
			}
			if c.reason != "" {
				r.checkUnknown(t, "could not be checked: authentication: ")
				r.checkUnknown(t, c.reason)
			} else if r.code != 0 {
				t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
			}
		})
	}
	t.Run("a touch that never comes", func(t *testing.T) {
		config := write(t, "config", option+file("untouched")+base)
		r := portcheck(t, nil, "--ssh-config", config, "-t", "ssh://app", "-p", "8080", "--timeout", "3s")
		r.checkUnknown(t, "could not be reached within 3s (--timeout): authentication: no answer in time; it may have waited for a touch of the security key "+filepath.Join(keys, "untouched")+" ED25519-SK SHA256:")
		if r.took > 8*time.Second {
			t.Errorf("it took %s", r.took)
		}
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // it was killed, and ends soon
			if out, err := exec.Command("pgrep", "-fa", "/ssh-sk-helper").Output(); err != nil {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("left: %s", out)
			}
		}
	})
	t.Run("the built-in client", func(t *testing.T) {
		agent := filepath.Join(dir, "agent")
		background(t, agent, exec.Command("ssh-agent", "-D", "-a", agent, "-P", provider))
		add := exec.Command("ssh-add", "-q", "-S", provider, filepath.Join(keys, "plain"))
		add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+agent)
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("ssh-add: %v\n%s", err, out)
		}
		login := func(env ...string) run {
			return portcheck(t, env, "--ssh", "builtin", "-t", "ssh://deploy@127.0.0.1:2201", "-p", "8080", "-i", filepath.Join(keys, "plain"), "--known-hosts", known, "--remote-path", there)
		}
		login().checkUnknown(t, "contains no usable private key: RSA, ECDSA and Ed25519 are supported, security keys in an agent alone, DSA not at all")
		if r := login("SSH_AUTH_SOCK=" + agent); r.code != 0 {
			t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
	})
}

// securityKey compiles the security key without hardware, and returns the library.
func securityKey(t *testing.T) string {
	t.Helper()
	library := filepath.Join(t.TempDir(), "securitykey.so")
	if out, err := exec.Command("gcc", "-Wall", "-shared", "-fPIC", "-o", library, "testdata/securitykey.c", "-lcrypto").CombinedOutput(); err != nil {
		testbed.Missing(t, fmt.Sprintf("needs gcc, libc6-dev and libssl-dev: %v\n%s", err, strings.TrimSpace(string(out))))
	}
	return library
}
