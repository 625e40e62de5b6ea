package cli

import (
	"github.com/spf13/pflag"

	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/transport"
)

// sshOptions are the flags that say how ssh:// targets are reached.
type sshOptions struct{ transport.SSHOptions }

func (o *sshOptions) sshFlags(f *pflag.FlagSet) {
	f.StringArrayVarP(&o.Identities, "identity", "i", nil, "private key `FILE` for ssh:// targets (repeatable); PORTCHECK_SSH_KEY takes the text of one")
	f.StringVar(&o.KnownHosts, "known-hosts", "", "`FILE` with the host keys of ssh:// targets; PORTCHECK_SSH_KNOWN_HOSTS takes the text of one")
	f.StringVar(&o.RemotePath, "remote-path", "", "run the portcheck at `PATH` of ssh:// targets instead of sending one")
	f.StringVar(&o.AgentDir, "agent-dir", "", "`DIR` with what is sent to ssh:// targets of another system: files named portcheck-OS-ARCH")
	f.BoolVar(&o.AgentCache, "agent-cache", false, "keep what is sent to ssh:// targets in their ~/.cache/portcheck")
	f.BoolVar(&o.Sudo, "sudo", false, "run portcheck on ssh:// targets by sudo -n")
}

// sshSecrets are inputs of the action that stand for variables, since no secret
// belongs on a command line.
var sshSecrets = map[string]string{
	"ssh-key":         "PORTCHECK_SSH_KEY",
	"ssh-passphrase":  "PORTCHECK_SSH_PASSPHRASE",
	"ssh-known-hosts": "PORTCHECK_SSH_KNOWN_HOSTS",
}

// secretNames are what a user of the action gives these variables by.
func secretNames() map[string]string {
	names := map[string]string{}
	for input, variable := range sshSecrets {
		names[variable] = "the input " + input
	}
	return names
}

// takeSecrets has the runner mask the inputs that hold secrets, and puts them
// where they are looked for.
func (a *app) takeSecrets() {
	for input, variable := range sshSecrets {
		if value := ci.Input(a.env, input); value != "" {
			ci.Mask(a.stderr, value)
			a.env[variable] = value
		}
	}
}
