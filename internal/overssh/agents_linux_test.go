package overssh

import (
	"os"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/org/portcheck/internal/testbed"
)

// TestAgentsThatHang checks that an agent that does not answer is named, and not the host
// blamed, with either client.
func TestAgentsThatHang(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	s := testbed.StartSSHD(t, "")
	known := s.KnownHosts(t)
	text, err := os.ReadFile(s.UserKey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := ssh.ParseRawPrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	keyring := agent.NewKeyring()
	if err := keyring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	silent, signsLate := testbed.SilentAgent(t), testbed.LateAgent(t, keyring)
	empty := write(t, "config", "")
	for _, c := range []struct {
		name, socket string
		args         []string
		want         string
	}{
		{"silent, OpenSSH", silent, []string{"--ssh-config", empty}, "the agent (SSH_AUTH_SOCK, or IdentityAgent in the configuration)"},
		{"silent beside a file, OpenSSH", silent, []string{"--ssh-config", empty, "-i", s.UserKey}, "the agent (SSH_AUTH_SOCK, or IdentityAgent in the configuration)"},
		{"IdentityAgent, OpenSSH", "", []string{"--ssh-config", write(t, "config", "IdentityAgent "+silent+"\n")}, "the agent (SSH_AUTH_SOCK, or IdentityAgent in the configuration)"},
		{"signs late, OpenSSH", signsLate, []string{"--ssh-config", empty}, "the agent (SSH_AUTH_SOCK, or IdentityAgent in the configuration)"},
		{"silent, built-in", silent, []string{"--ssh", "builtin"}, "the agent at SSH_AUTH_SOCK"},
		{"signs late, built-in", signsLate, []string{"--ssh", "builtin"}, "the agent at SSH_AUTH_SOCK"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := []string{"SSH_AUTH_SOCK=" + c.socket, "HOME=/nonexistent"}
			r := portcheck(t, env, append([]string{"-t", "ssh://root@127.0.0.1", "-p", "8080", "--timeout", "2s", "--known-hosts", known}, c.args...)...)
			r.checkUnknown(t, "could not be reached within 2s (--timeout): authentication: no answer in time; it may have waited for "+c.want)
		})
	}
}
