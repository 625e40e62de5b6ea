// Package sshlink connects to hosts by SSH and runs commands there. It handles keys,
// agents and known hosts. It reads no ssh_config(5).
package sshlink

import "time"

// Environment variables that hold the content of files, for pipelines without
// files.
const (
	keyVariable        = "PORTCHECK_SSH_KEY"
	passphraseVariable = "PORTCHECK_SSH_PASSPHRASE"
	knownHostsVariable = "PORTCHECK_SSH_KNOWN_HOSTS"
)

// Options are the settings of a Dialer.
type Options struct {
	// Env is the environment of our process: HOME, USER, SSH_AUTH_SOCK and the
	// PORTCHECK_SSH_ variables.
	Env map[string]string
	// Names maps an environment variable to the name by which the user sets
	// it, such as an action's input, for messages.
	Names      map[string]string
	Identities []string // private key files; if set, no other keys are offered
	KnownHosts string   // file that replaces the user's and the system's known_hosts
	// ConnectTimeout limits the time until the TCP connection is made,
	// HandshakeTimeout the time from there until the user is logged in.
	// Zero means no limit.
	ConnectTimeout, HandshakeTimeout time.Duration
}

// name returns the name by which the user sets a variable.
func (o Options) name(variable string) string {
	if name, ok := o.Names[variable]; ok {
		return name
	}
	return variable
}

// Dialer connects to hosts. It reads keys and files once, when the first
// connection needs them. It is safe for concurrent use.
type Dialer struct {
	o          Options
	givenKeys  shared[[]identity] // the keys that Options name; empty if it names none
	hostKeys   shared[*hostKeys]  // by the names of their files
	identities shared[identity]   // by file
}

// New returns a Dialer. It reads no file yet.
func New(o Options) *Dialer { return &Dialer{o: o} }
