package sshlink

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/org/portcheck/transport/internal/remote"
)

// key is a private key to offer, with or without a certificate.
type key struct {
	name   string // its origin, for messages
	signer ssh.Signer
}

func (k key) String() string {
	public := k.signer.PublicKey()
	if cert, ok := public.(*ssh.Certificate); ok {
		return fmt.Sprintf("%s with its certificate (%s)", k.name, ssh.FingerprintSHA256(cert.Key))
	}
	return fmt.Sprintf("%s (%s)", k.name, ssh.FingerprintSHA256(public))
}

// isOf reports whether k is the private key of public, with or without a certificate.
func (k key) isOf(public ssh.PublicKey) bool {
	own := k.signer.PublicKey()
	if cert, ok := own.(*ssh.Certificate); ok {
		own = cert.Key
	}
	return bytes.Equal(own.Marshal(), public.Marshal())
}

// withSHA2 returns a signer that does not use SHA-1. Without this, an RSA key signs
// with it if the server does not list newer algorithms.
func withSHA2(signer ssh.Signer) (ssh.Signer, error) {
	if !isRSA(signer) {
		return signer, nil
	}
	s, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return nil, errors.New("can sign with SHA-1 only")
	}
	return ssh.NewSignerWithAlgorithms(s, []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512})
}

// isRSA reports whether the key of a signer is an RSA key, with or without a
// certificate.
func isRSA(signer ssh.Signer) bool {
	kind := signer.PublicKey().Type()
	return kind == ssh.KeyAlgoRSA || kind == ssh.CertAlgoRSAv01
}

// identity is the content of a private key file: keys to offer, or an error.
type identity struct {
	name   string // of the file
	keys   []key
	public ssh.PublicKey    // also with an error; nil if unknown
	cert   *ssh.Certificate // beside the file; nil if there is none
	err    error
}

// readGivenKeys returns the keys of the environment variable and of the options,
// none if neither is set. A file that can't be used is no error if an agent may have
// its key.
func (d *Dialer) readGivenKeys() ([]identity, error) {
	var all []identity
	if text := d.o.Env[keyVariable]; strings.TrimSpace(text) != "" {
		signer, err := d.parseKey([]byte(text))
		if err != nil {
			return nil, remote.At("authentication", fmt.Errorf("%s %w", d.o.name(keyVariable), err))
		}
		all = append(all, identity{keys: []key{{d.o.name(keyVariable), signer}}, public: signer.PublicKey()})
	}
	for _, file := range d.o.Identities {
		id := d.readIdentity(file)
		inAgent := d.o.Env["SSH_AUTH_SOCK"] != "" && id.public != nil
		if id.err != nil && !inAgent {
			return nil, remote.At("authentication", fmt.Errorf("%s %w", file, id.err))
		}
		all = append(all, id)
	}
	return all, nil
}

// identity returns the content of a private key file and of the certificate
// beside it. It reads and decrypts each file once, since decryption is slow by
// design. The error is that of ctx.
func (d *Dialer) identity(ctx context.Context, file string) (identity, error) {
	return d.identities.get(ctx, file, "authentication", file, func() (identity, error) { return d.readIdentity(file), nil })
}

func (d *Dialer) readIdentity(file string) identity {
	id := identity{name: file}
	beside, _ := readPublic(file + "-cert.pub") // most keys have no certificate
	id.cert, _ = beside.(*ssh.Certificate)
	text, err := readFile(file, smallFileLimit)
	if err != nil {
		id.public, _ = readPublic(file + ".pub") // nil on error: then the agent's key is not recognized
		id.err = unreadable(err)
		return id
	}
	signer, err := d.parseKey(text)
	if err != nil {
		id.err = err
		var missing *ssh.PassphraseMissingError
		if errors.As(err, &missing) && missing.PublicKey != nil {
			id.public = missing.PublicKey
		} else if id.public, err = readPublic(file); err != nil {
			id.public, _ = readPublic(file + ".pub")
		}
		return id
	}
	id.public, id.keys = signer.PublicKey(), withCertificate(key{file, signer}, id.cert)
	return id
}

// unreadable returns the message of an error of reading a file, without the
// file's name.
func unreadable(err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return fmt.Errorf("can't be read: %w", failed.Err)
	}
	return err
}

func readPublic(file string) (ssh.PublicKey, error) {
	text, err := readFile(file, smallFileLimit)
	if err != nil {
		return nil, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(text)
	return public, err
}

// withCertificate returns a key, after its certificate if that fits.
func withCertificate(k key, cert *ssh.Certificate) []key {
	if cert == nil {
		return []key{k}
	}
	if signer, err := ssh.NewCertSigner(cert, k.signer); err == nil && k.isOf(cert.Key) {
		return []key{{k.name, signer}, k}
	}
	return []key{k}
}

// parseKey parses a private key. Its errors are worded to follow the name of the
// origin, and quote nothing of the text.
func (d *Dialer) parseKey(text []byte) (ssh.Signer, error) {
	// CI systems change line endings, and remove the last one.
	text = append(bytes.TrimSpace(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))), '\n')
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return nil, notPrivate(text)
	case isCut(block):
		return nil, errDamaged
	}
	private, err := ssh.ParseRawPrivateKey(text)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		passphrase := strings.TrimRight(d.o.Env[passphraseVariable], "\r\n")
		if passphrase == "" {
			return nil, &needsPassphrase{d.o.name(passphraseVariable), missing}
		}
		private, err = ssh.ParseRawPrivateKeyWithPassphrase(text, []byte(passphrase))
		// The old format has no checksum: one wrong passphrase of 256 decrypts it to
		// bytes that are no ASN.1, and nothing tells that from a file without a line.
		switch variable := d.o.name(passphraseVariable); {
		case cipherBlock(block) > 0 && (errors.Is(err, x509.IncorrectPasswordError) || isNoASN1(err)):
			return nil, fmt.Errorf("can't be decrypted with the passphrase in %s: that is wrong, or the file is damaged", variable)
		case errors.Is(err, x509.IncorrectPasswordError):
			return nil, fmt.Errorf("can't be decrypted with the passphrase in %s", variable)
		}
	}
	if err == nil {
		var signer ssh.Signer
		if signer, err = ssh.NewSignerFromKey(private); err == nil {
			return signer, nil
		}
	}
	if errors.Is(err, x509.IncorrectPasswordError) || isNoASN1(err) {
		return nil, errDamaged
	}
	switch block.Type {
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("is encrypted as PKCS #8: convert it by `ssh-keygen -p`")
	case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
		return nil, errPublic
	}
	return nil, errors.New("contains no usable private key: RSA, ECDSA and Ed25519 are supported, security keys in an agent alone, DSA not at all")
}

// isNoASN1 reports whether a text is not of the form that its kind of key has. Package
// x509 has that error as text alone.
func isNoASN1(err error) bool { return err != nil && strings.Contains(err.Error(), "asn1:") }

// isCut reports whether a part of a key is missing, as far as that shows without its
// passphrase.
func isCut(block *pem.Block) bool {
	if block.Type == "OPENSSH PRIVATE KEY" { // PROTOCOL.key of OpenSSH
		rest, found := bytes.CutPrefix(block.Bytes, []byte("openssh-key-v1\x00"))
		return !found || ssh.Unmarshal(rest, &struct {
			Cipher, KDF, KDFOptions string
			Keys                    uint32
			Public, Private         []byte
			Rest                    []byte `ssh:"rest"`
		}{}) != nil
	}
	size := cipherBlock(block)
	return size > 0 && (len(block.Bytes) == 0 || len(block.Bytes)%size != 0)
}

// cipherBlock returns the block size of the cipher of a key in the old encrypted format,
// which is the length of the IV. It is 0 for other keys.
func cipherBlock(block *pem.Block) int {
	_, text, _ := strings.Cut(block.Headers["DEK-Info"], ",")
	iv, err := hex.DecodeString(text)
	if err != nil {
		return 0
	}
	return len(iv)
}

// needsPassphrase is the error for an encrypted key without a passphrase. The
// error that it wraps has the public key.
type needsPassphrase struct {
	variable string // that holds the passphrase, by the name that the user sets
	missing  *ssh.PassphraseMissingError
}

func (e *needsPassphrase) Error() string {
	return "is encrypted: set " + e.variable
}

func (e *needsPassphrase) Unwrap() error { return e.missing }

var (
	errPublic  = errors.New("is a public key: the private one is needed")
	errDamaged = errors.New("is damaged: a part of it is missing or changed; copy the whole file again")
)

// notPrivate returns the error for a text that is not PEM.
func notPrivate(text []byte) error {
	if _, _, _, _, err := ssh.ParseAuthorizedKey(text); err == nil || bytes.HasPrefix(text, []byte("---- BEGIN SSH2 PUBLIC KEY")) {
		return errPublic
	}
	if bytes.HasPrefix(text, []byte("PuTTY-User-Key-File-")) {
		return errors.New("is a PuTTY key: convert it by `puttygen -O private-openssh`")
	}
	if bytes.HasPrefix(text, []byte("/")) && bytes.Count(text, []byte("\n")) == 1 { // such as a GitLab variable of type file
		return errors.New("contains the name of a file instead of a private key: pass that name by --identity")
	}
	if bytes.Contains(text, []byte("-----BEGIN ")) && bytes.Contains(text, []byte("-----END ")) { // no base64 between them
		return errDamaged
	}
	return errors.New("is not a private key: it must be complete, from -----BEGIN to -----END")
}
