package sshlink

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
)

// key is a private key that may be offered, with or without a certificate.
type key struct {
	name   string // where it is from, for humans
	signer ssh.Signer
}

func (k key) String() string {
	public := k.signer.PublicKey()
	if cert, ok := public.(*ssh.Certificate); ok {
		return fmt.Sprintf("%s with its certificate (%s)", k.name, ssh.FingerprintSHA256(cert.Key))
	}
	return fmt.Sprintf("%s (%s)", k.name, ssh.FingerprintSHA256(public))
}

// isOf says whether it is the other half of a public key.
func (k key) isOf(public ssh.PublicKey) bool {
	return bytes.Equal(k.signer.PublicKey().Marshal(), public.Marshal())
}

// identity is what a file of a private key holds: keys to offer, or the reason
// that there are none.
type identity struct {
	keys   []key
	public ssh.PublicKey // also if the private one can't be used; nil if not known
	err    error
}

// givenKeys are those of the variable and of the options, none if neither is set.
func (d *Dialer) givenKeys() ([]key, error) {
	var all []key
	if text := d.o.Env[keyVariable]; strings.TrimSpace(text) != "" {
		signer, err := d.parseKey([]byte(text))
		if err != nil {
			return nil, &StepError{"authentication", fmt.Errorf("%s %w", d.o.name(keyVariable), err)}
		}
		all = append(all, key{d.o.name(keyVariable), signer})
	}
	for _, file := range d.o.Identities {
		id := d.identity(file)
		if id.err != nil {
			return nil, &StepError{"authentication", fmt.Errorf("%s %w", file, id.err)}
		}
		all = append(all, id.keys...)
	}
	return all, nil
}

// identity reads a private key and the certificate beside it. It is read, and
// decrypted, once a run: that is made to be slow.
func (d *Dialer) identity(file string) identity {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, ok := d.identities[file]
	if !ok {
		id = d.readIdentity(file)
		d.identities[file] = id
	}
	return id
}

func (d *Dialer) readIdentity(file string) identity {
	text, err := os.ReadFile(file)
	if err != nil {
		public, _ := readPublic(file + ".pub") // nil: the agent won't be asked for it
		return identity{public: public, err: unreadable(err)}
	}
	signer, err := d.parseKey(text)
	if err != nil {
		id := identity{err: err}
		var missing *ssh.PassphraseMissingError
		if errors.As(err, &missing) && missing.PublicKey != nil {
			id.public = missing.PublicKey
		} else if id.public, err = readPublic(file); err != nil {
			id.public, _ = readPublic(file + ".pub")
		}
		return id
	}
	id := identity{public: signer.PublicKey(), keys: []key{{file, signer}}}
	public, _ := readPublic(file + "-cert.pub") // most keys have none
	if cert, ok := public.(*ssh.Certificate); ok {
		id.keys = withCertificates(id.keys, []*ssh.Certificate{cert})
	}
	return id
}

// unreadable is an error of reading a file without the file's name.
func unreadable(err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		err = failed.Err
	}
	return fmt.Errorf("can't be read: %w", err)
}

func readPublic(file string) (ssh.PublicKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(text)
	return public, err
}

// withCertificates puts the certificates for a key before it.
func withCertificates(keys []key, certificates []*ssh.Certificate) []key {
	var all []key
	for _, k := range keys {
		for _, c := range certificates {
			if signer, err := ssh.NewCertSigner(c, k.signer); err == nil && k.isOf(c.Key) {
				all = append(all, key{k.name, signer})
			}
		}
		all = append(all, k)
	}
	return all
}

// parseKey reads a private key. Its errors follow the name of where the text is
// from, and say nothing of what is in it.
func (d *Dialer) parseKey(text []byte) (ssh.Signer, error) {
	// CI systems change the ends of lines, and cut the last one.
	text = append(bytes.TrimSpace(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))), '\n')
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, notPrivate(text)
	}
	private, err := ssh.ParseRawPrivateKey(text)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		passphrase := strings.TrimRight(d.o.Env[passphraseVariable], "\r\n")
		if passphrase == "" {
			return nil, &needsPassphrase{d.o.name(passphraseVariable), missing}
		}
		private, err = ssh.ParseRawPrivateKeyWithPassphrase(text, []byte(passphrase))
		if errors.Is(err, x509.IncorrectPasswordError) {
			return nil, fmt.Errorf("is encrypted with another passphrase than %s", d.o.name(passphraseVariable))
		}
	}
	if err == nil {
		var signer ssh.Signer
		if signer, err = ssh.NewSignerFromKey(private); err == nil {
			return signer, nil
		}
	}
	switch block.Type {
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("is encrypted as PKCS #8: convert it by `ssh-keygen -p`")
	case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
		return nil, errPublic
	}
	return nil, errors.New("holds no private key that can be used: RSA, ECDSA and Ed25519 can, not DSA or security keys")
}

// needsPassphrase keeps the public half of a key that is encrypted.
type needsPassphrase struct {
	by      string // what the passphrase is given by
	missing *ssh.PassphraseMissingError
}

func (e *needsPassphrase) Error() string {
	return "is encrypted: set " + e.by
}

func (e *needsPassphrase) Unwrap() error { return e.missing }

var errPublic = errors.New("is a public key: the private one is needed")

// notPrivate says what a text is that is no PEM.
func notPrivate(text []byte) error {
	if _, _, _, _, err := ssh.ParseAuthorizedKey(text); err == nil || bytes.HasPrefix(text, []byte("---- BEGIN SSH2 PUBLIC KEY")) {
		return errPublic
	}
	if bytes.HasPrefix(text, []byte("PuTTY-User-Key-File-")) {
		return errors.New("is a key of PuTTY: convert it by `puttygen -O private-openssh`")
	}
	if bytes.HasPrefix(text, []byte("/")) && bytes.Count(text, []byte("\n")) == 1 { // as GitLab's variables of the type file
		return errors.New("holds the name of a file and no private key: give that name by --identity")
	}
	return errors.New("is no private key: it must be whole, from -----BEGIN to -----END")
}
