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

	"github.com/org/portcheck/transport/internal/remote"
)

// maxOffered is the number of keys that an OpenSSH server accepts tries of before
// it closes the connection (the default of MaxAuthTries in sshd_config(5)).
const maxOffered = 6

// login authenticates a user with one key after the other.
type login struct {
	ctx         context.Context // that of the handshake
	account     string          // user@host
	keyVariable string          // by the name that the user sets
	timeout     time.Duration   // of the handshake, for messages
	sources     []func() []key  // of more keys, called when those before were refused
	ready       []key
	seen        map[string]bool // public keys that were offered
	offered     []string
	rsa         bool     // an RSA key was offered
	skipped     []string // keys and agents that can't be used, each with the reason
	agent       *keyAgent
}

// login prepares the login of an account. A key that was given explicitly must be
// usable; others are skipped if they are not.
func (d *Dialer) login(ctx context.Context, a account) (*login, error) {
	l := &login{account: a.String(), keyVariable: d.o.name(keyVariable), timeout: d.o.HandshakeTimeout, seen: map[string]bool{}}
	given, err := d.givenKeys.get(ctx, "", "authentication", "the keys "+strings.Join(d.o.Identities, ", "), d.readGivenKeys)
	if err != nil {
		return nil, err
	}
	l.sources = []func() []key{func() []key { return d.findKeys(l, given) }}
	return l, nil
}

// findKeys returns the keys to offer: those that were given, else those in ssh's
// default files, then the agent's. A host accepts few tries, and an agent may have
// many keys, so its others come last. It signs for a file that is encrypted, or the
// key of which is on a token.
func (d *Dialer) findKeys(l *login, given []identity) []key {
	files := given
	if len(given) == 0 {
		files = d.defaultKeys(l)
	}
	var inAgent, all []key
	if len(given) == 0 || slices.ContainsFunc(given, func(id identity) bool { return id.err != nil }) {
		inAgent = l.agentKeys(d.o.Env["SSH_AUTH_SOCK"])
	}
	for _, id := range files {
		known := id.keys
		if id.public != nil {
			for _, k := range inAgent {
				if k.isOf(id.public) {
					known = append(slices.Clip(known), withCertificate(k, id.cert)...)
				}
			}
		}
		if len(known) == 0 && id.err != nil {
			l.skip(id.name, id.err)
		}
		all = append(all, known...)
	}
	if len(given) > 0 {
		return all
	}
	return append(all, inAgent...) // none is offered twice
}

func (l *login) skip(what string, err error) {
	l.skipped = append(l.skipped, fmt.Sprintf("%s %s", what, err))
}

func (l *login) agentKeys(socket string) []key {
	if socket == "" {
		return nil
	}
	var err error
	if l.agent, err = openAgent(l.ctx, socket, l.timeout); err != nil {
		l.skipped = append(l.skipped, err.Error())
		return nil
	}
	keys, err := l.agent.keys()
	if err != nil {
		l.skipped = append(l.skipped, err.Error())
	}
	return keys
}

// defaultKeys returns what is in ssh's default files. Missing files are normal.
func (d *Dialer) defaultKeys(l *login) []identity {
	var all []identity
	for _, base := range []string{"id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"} {
		file := d.inHome(".ssh", base)
		if file == "" {
			continue
		}
		id, err := d.identity(l.ctx, file)
		if err != nil {
			return all
		}
		if id.err == nil || id.public != nil || !errors.Is(id.err, fs.ErrNotExist) {
			all = append(all, id)
		}
	}
	return all
}

// next is an ssh.ClientAuthCallback. It returns the next key to try.
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
			signer, err := withSHA2(k.signer)
			if err != nil {
				l.skip(k.String(), err)
				continue
			}
			l.offered = append(l.offered, k.String())
			l.rsa = l.rsa || isRSA(signer)
			return ssh.PublicKeys(signer), nil
		}
	}
	return nil, l.refused(c)
}

func (l *login) refused(c *ssh.ClientAuthContext) error {
	if l.ctx.Err() != nil {
		return l.failed(timedOut(l.timeout))
	}
	return l.failed(l.refusal(c))
}

func (l *login) refusal(c *ssh.ClientAuthContext) string {
	methods := remote.Shorten(strings.Join(c.AllowedMethods, ", "))
	switch {
	case len(c.PartialSuccessMethods) > 0:
		return fmt.Sprintf("a key was accepted, but the host also requires %s, which is not supported", methods)
	case !slices.Contains(c.AllowedMethods, "publickey"):
		return fmt.Sprintf("the host accepts no keys, only %s, which is not supported", methods)
	case len(l.offered) == 0:
		return "there is no key to offer: set " + l.keyVariable + ", or use a key file or an agent"
	}
	text := fmt.Sprintf("no key is accepted (the host accepts %s)", methods)
	if l.rsa {
		text += "; RSA keys sign with SHA-2 only (rsa-sha2-256, rsa-sha2-512)"
	}
	return text
}

// failed returns the error of the login with all keys that were tried.
func (l *login) failed(reason string) error {
	text := fmt.Sprintf("%s: %s", l.account, reason)
	if l.agent != nil && l.agent.failed != nil {
		l.skipped = append(l.skipped, l.agent.failed.Error())
	}
	if len(l.offered) > 0 {
		text += "; offered: " + strings.Join(l.offered, ", ")
	}
	if len(l.skipped) > 0 {
		text += "; unusable: " + strings.Join(l.skipped, ", ")
	}
	return remote.At("authentication", errors.New(text))
}
