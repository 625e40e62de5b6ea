// Package sshlink reaches a host by SSH and runs commands there: it knows names,
// keys, host keys and jumps, and nothing of ports.
package sshlink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Variables that hold texts, for pipelines that keep no files.
const (
	keyVariable        = "PORTCHECK_SSH_KEY"
	passphraseVariable = "PORTCHECK_SSH_PASSPHRASE"
	knownHostsVariable = "PORTCHECK_SSH_KNOWN_HOSTS"
)

// Options are what all links of one run have in common.
type Options struct {
	// Env are the variables of our process: HOME, USER, SSH_AUTH_SOCK, and
	// PORTCHECK_SSH_KEY, _PASSPHRASE and _KNOWN_HOSTS, which hold texts.
	Env map[string]string
	// Names are what the user gives these variables by, where that has another
	// name; by variable.
	Names      map[string]string
	Identities []string // files of private keys; the only ones that are offered then
	KnownHosts string   // a file that replaces the user's and the system's
	// Budgets of the steps, for each hop: Connect until the TCP connection is
	// made, Handshake until the user is let in. Zero is no limit.
	Connect, Handshake time.Duration
}

// name is what the user gives a variable by.
func (o Options) name(variable string) string {
	if name, other := o.Names[variable]; other {
		return name
	}
	return variable
}

// Dialer makes links. It reads keys and files once, when the first link needs
// them. It may be used by several goroutines.
type Dialer struct {
	o       Options
	config  func() (clientConfig, error)
	offered func() ([]key, error) // the keys that were given, nil if none were

	mu         sync.Mutex
	hostKeys   map[string]*hostKeys // by the names of their files
	identities map[string]identity  // by file
}

// New makes a Dialer. It reads nothing yet.
func New(o Options) *Dialer {
	d := &Dialer{o: o, hostKeys: map[string]*hostKeys{}, identities: map[string]identity{}}
	d.config = sync.OnceValues(d.readConfig)
	d.offered = sync.OnceValues(d.givenKeys)
	return d
}

// StepError says at which step of the way a host could not be reached.
type StepError struct {
	Step string // config, resolve, connect, handshake, host key, authentication, session
	Err  error
}

// Error is "STEP: what went wrong", one line.
func (e *StepError) Error() string {
	if errors.Is(e.Err, context.DeadlineExceeded) {
		return e.Step + ": no answer in time"
	}
	return fmt.Sprintf("%s: %s", e.Step, e.Err)
}

// Unwrap is the cause.
func (e *StepError) Unwrap() error { return e.Err }
