package sshlink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// maxOffered is how many keys a server of OpenSSH hears before it hangs up
// (MaxAuthTries).
const maxOffered = 6

// login lets a user in by one key after the other.
type login struct {
	ctx     context.Context // ends with the handshake's budget
	who     string          // user@host
	keyBy   string          // what a key is given by
	budget  time.Duration
	sources []func() []key // asked for more keys when the ones before were refused
	ready   []key
	seen    map[string]bool // public keys that were offered
	offered []string
	skipped []string // what can't be offered, and why
	agent   *keyAgent
}

// login prepares one for a host. Keys that were given have to be good; those that
// lie about may be anything.
func (d *Dialer) login(h hop) (*login, error) {
	l := &login{who: h.user + "@" + h.name, keyBy: d.o.name(keyVariable), budget: d.o.Handshake, seen: map[string]bool{}}
	given, err := d.offered()
	if err != nil {
		return nil, err
	}
	if len(given) > 0 {
		l.ready = given
		return l, nil
	}
	d.findKeys(l, h)
	return l, nil
}

// findKeys prepares what is offered when no key was given: the files of the
// config, then the agent's, then the usual files.
func (d *Dialer) findKeys(l *login, h hop) {
	certificates := l.certificates(h.certificates)
	var named []ssh.PublicKey
	for _, f := range h.identities {
		id := d.identity(f)
		if id.public != nil {
			named = append(named, id.public)
		}
		if id.err != nil {
			l.skip(f, id.err)
		}
		l.ready = append(l.ready, withCertificates(id.keys, certificates)...)
	}
	l.sources = append(l.sources, func() []key {
		keys := l.agentKeys(d.o.Env["SSH_AUTH_SOCK"])
		if h.identitiesOnly {
			keys = slices.DeleteFunc(keys, func(k key) bool { return !slices.ContainsFunc(named, k.isOf) })
		}
		return withCertificates(keys, certificates)
	})
	if !h.identitiesOnly || len(h.identities) == 0 {
		l.sources = append(l.sources, func() []key { return withCertificates(d.defaultKeys(l), certificates) })
	}
}

func (l *login) certificates(files []string) []*ssh.Certificate {
	var all []*ssh.Certificate
	for _, f := range files {
		public, err := readPublic(f)
		if cert, ok := public.(*ssh.Certificate); ok && err == nil {
			all = append(all, cert)
		} else {
			l.skip(f, errors.New("is no certificate that can be read"))
		}
	}
	return all
}

func (l *login) skip(what string, err error) {
	l.skipped = append(l.skipped, fmt.Sprintf("%s %s", what, err))
}

func (l *login) agentKeys(socket string) []key {
	if socket == "" {
		return nil
	}
	var err error
	if l.agent, err = openAgent(l.ctx, socket, l.budget); err != nil {
		l.skipped = append(l.skipped, err.Error())
		return nil
	}
	keys, err := l.agent.keys()
	if err != nil {
		l.skipped = append(l.skipped, err.Error())
	}
	return keys
}

// defaultKeys are those that ssh looks for. It is usual that some don't exist.
func (d *Dialer) defaultKeys(l *login) []key {
	var all []key
	for _, base := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		file := d.inHome(".ssh", base)
		if file == "" {
			continue
		}
		id := d.identity(file)
		if id.err != nil && !errors.Is(id.err, fs.ErrNotExist) {
			l.skip(file, id.err)
		}
		all = append(all, id.keys...)
	}
	return all
}

// next is an ssh.ClientAuthCallback: what is tried after the last attempt failed.
func (l *login) next(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	if !slices.Contains(c.AllowedMethods, "publickey") {
		return nil, l.refused(c)
	}
	for l.ctx.Err() == nil && len(l.offered) < maxOffered {
		for len(l.ready) == 0 {
			if len(l.sources) == 0 {
				return nil, l.refused(c)
			}
			l.ready, l.sources = l.sources[0](), l.sources[1:]
		}
		k := l.ready[0]
		l.ready = l.ready[1:]
		if public := string(k.signer.PublicKey().Marshal()); !l.seen[public] {
			l.seen[public] = true
			l.offered = append(l.offered, k.String())
			return ssh.PublicKeys(k.signer), nil
		}
	}
	return nil, l.refused(c)
}

func (l *login) refused(c *ssh.ClientAuthContext) error {
	if l.ctx.Err() != nil {
		return l.failed(late(l.budget))
	}
	return l.failed(l.refusal(c))
}

func (l *login) refusal(c *ssh.ClientAuthContext) string {
	methods := cut(strings.Join(c.AllowedMethods, ", "))
	switch {
	case len(c.PartialSuccessMethods) > 0:
		return fmt.Sprintf("a key was accepted, but the host asks for more (%s), which is not supported", methods)
	case !slices.Contains(c.AllowedMethods, "publickey"):
		return fmt.Sprintf("the host accepts no keys, but %s, which is not supported", methods)
	case len(l.offered) == 0:
		return "there is no key to offer: give one by " + l.keyBy + ", a file or an agent"
	}
	return fmt.Sprintf("no key is accepted (the host accepts %s)", methods)
}

// failed is why the user was not let in, with all that was tried.
func (l *login) failed(reason string) error {
	text := fmt.Sprintf("%s: %s", l.who, reason)
	if l.agent != nil && l.agent.failed != nil {
		l.skipped = append(l.skipped, l.agent.failed.Error())
	}
	if len(l.offered) > 0 {
		text += "; offered: " + strings.Join(l.offered, ", ")
	}
	if len(l.skipped) > 0 {
		text += "; not usable: " + strings.Join(l.skipped, ", ")
	}
	return &StepError{"authentication", errors.New(text)}
}
