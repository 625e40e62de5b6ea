package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/report"
	"github.com/org/portcheck/transport"
)

// sshOptions are the flags for ssh:// targets.
type sshOptions struct {
	transport.SSHOptions
	client string
	log    bool
}

func (o *sshOptions) sshFlags(f *pflag.FlagSet) {
	f.StringVar(&o.client, "ssh", string(transport.AutoSSH), "how to connect to ssh:// targets: openssh (the ssh on PATH, as the user has configured it), builtin, or `auto` (openssh where it can be used)")
	f.StringVar(&o.ConfigFile, "ssh-config", "", "ssh_config(5) `FILE` for ssh:// targets, in place of the user's; needs openssh")
	f.BoolVar(&o.log, "ssh-log", false, "show what OpenSSH's client says of its work (ssh -v) where it can't reach a target")
	addList(f, &o.Identities, "identity", "i", "private key `FILE` for ssh:// targets (repeatable); PORTCHECK_SSH_KEY may hold the text of a key")
	f.StringVar(&o.KnownHosts, "known-hosts", "", "`FILE` with the host keys of ssh:// targets; PORTCHECK_SSH_KNOWN_HOSTS may hold the text of one")
	f.StringVar(&o.RemotePath, "remote-path", "", "run the portcheck executable at `PATH` on ssh:// targets instead of sending one")
	f.StringVar(&o.AgentDir, "agent-dir", "", "`DIR` of executables to send to ssh:// targets of other systems: files named portcheck-OS-ARCH")
	f.BoolVar(&o.AgentCache, "agent-cache", false, "keep the executable that was sent to an ssh:// target in ~/.cache/portcheck there")
	f.BoolVar(&o.Sudo, "sudo", false, "run portcheck on ssh:// targets with sudo -n")
	groupSSH.addTo(f)
}

// names returns the files that the flags name.
func (o sshOptions) names() []string {
	return append([]string{o.ConfigFile, o.KnownHosts}, o.Identities...)
}

// logSSH writes the log of an ssh that has failed to stderr.
func (a *app) logSSH(host string, lines []string) {
	var b strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&b, "portcheck: ssh %s: %s\n", report.Safe(host), report.Safe(line))
	}
	_, _ = io.WriteString(a.stderr, b.String()) // the run goes on without it
}

// validateSSH sets the client, and returns an error for one that can't be used.
func (o *sshOptions) validateSSH(env ci.Env) error {
	var names []string
	for _, c := range transport.SSHClients {
		names = append(names, string(c))
	}
	if !slices.Contains(names, o.client) {
		return notOneOf("--ssh", o.client, names)
	}
	o.Client, o.Untrusted = transport.SSHClient(o.client), ci.Untrusted(env)
	variable := o.TextVariable(env)
	switch {
	case o.Client == transport.OpenSSH && o.Untrusted != "":
		return usageError(fmt.Errorf("--ssh openssh is refused, because %s, and only the built-in client checks the addresses that it dials: use --ssh auto or builtin", o.Untrusted), "")
	case o.Client == transport.OpenSSH && variable != "":
		return usageError(fmt.Errorf("--ssh openssh can't use the text in %s: use --ssh builtin, or files (--identity, --known-hosts) and an agent", variable), "")
	case o.ConfigFile != "" && o.Client == transport.BuiltinSSH:
		return usageError(errors.New("--ssh-config has no effect on the built-in client, which reads no ssh_config(5): use --ssh openssh"), "")
	}
	return nil
}

// sshSecrets maps inputs of the action to the variables that they set, since
// secrets must not be on a command line.
var sshSecrets = map[string]string{
	"ssh-key":         "PORTCHECK_SSH_KEY",
	"ssh-passphrase":  "PORTCHECK_SSH_PASSPHRASE",
	"ssh-known-hosts": "PORTCHECK_SSH_KNOWN_HOSTS",
}

// secretNames maps these variables to what error messages call them in an action.
func secretNames() map[string]string {
	names := map[string]string{}
	for input, variable := range sshSecrets {
		names[variable] = "the input " + input
	}
	return names
}

// setSecrets sets the variables of inputs with secrets, and masks their values in
// the job's log.
func (a *app) setSecrets() {
	for input, variable := range sshSecrets {
		if value := ci.Input(a.env, input); value != "" {
			ci.Mask(a.stderr, value)
			a.env[variable] = value
		}
	}
}
