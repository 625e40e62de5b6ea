package sshlink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"github.com/org/portcheck/transport/internal/remote"
)

// hostKeys are the known host keys of a set of files.
type hostKeys struct {
	db      *knownhosts.HostKeyDB
	origins map[string]string // of the files that db has read
	addTo   string            // the file or variable to which a line should be added
	invalid []string          // "FILE:LINE" of lines that can't be parsed
}

// knownText is the content of a known_hosts file or of the variable.
type knownText struct{ origin, text string }

// hostKeysFor returns the known host keys. They are read once.
func (d *Dialer) hostKeysFor(ctx context.Context) (*hostKeys, error) {
	files, addTo := d.knownFiles()
	return d.hostKeys.get(ctx, "", "host key", "the known_hosts files "+strings.Join(files, ", "), func() (*hostKeys, error) {
		texts, err := d.knownTexts(files)
		if err != nil {
			return nil, remote.At("host key", err)
		}
		keys, err := parseKnown(texts)
		if err != nil {
			return nil, remote.At("host key", err)
		}
		keys.addTo = addTo
		return keys, nil
	})
}

// knownFiles returns the known_hosts files, none if the variable replaces them, and the file or variable to which a line should be added.
func (d *Dialer) knownFiles() (files []string, addTo string) {
	if d.o.KnownHosts != "" {
		return []string{d.o.KnownHosts}, d.o.KnownHosts
	}
	if d.o.Env[knownHostsVariable] != "" {
		return nil, d.o.name(knownHostsVariable)
	}
	if home := d.inHome(".ssh"); home != "" {
		files = append(files, filepath.Join(home, "known_hosts"), filepath.Join(home, "known_hosts2"))
	}
	if dir := remote.SystemDir(d.o.Env); dir != "" {
		files = append(files, filepath.Join(dir, "ssh_known_hosts"), filepath.Join(dir, "ssh_known_hosts2"))
	}
	if _, renamed := d.o.Names[knownHostsVariable]; renamed || len(files) == 0 {
		return files, d.o.name(knownHostsVariable)
	}
	return files, files[0]
}

// knownTexts reads files, or the variable if files is empty. Only the file of
// Options has to exist.
func (d *Dialer) knownTexts(files []string) ([]knownText, error) {
	if len(files) == 0 {
		return []knownText{{d.o.name(knownHostsVariable), d.o.Env[knownHostsVariable]}}, nil
	}
	var all []knownText
	for _, f := range files {
		text, err := readFile(f, knownHostsLimit)
		if d.o.KnownHosts == "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("the known_hosts file %s %w", f, unreadable(err))
		}
		all = append(all, knownText{f, string(text)})
	}
	return all, nil
}

func parseKnown(texts []knownText) (*hostKeys, error) {
	k := &hostKeys{origins: map[string]string{}}
	var files []string
	for _, t := range texts {
		clean, err := k.clean(t)
		if err != nil {
			return nil, err
		}
		// The parser reads files, each of them twice, but a text may be from a
		// variable or a pipe.
		file, remove, err := remote.AsFile(clean)
		if err != nil {
			return nil, fmt.Errorf("can't create a temporary file for the known hosts: %w", err)
		}
		defer remove()
		k.origins[file] = t.origin
		files = append(files, file)
	}
	var err error
	if k.db, err = knownhosts.NewDB(files...); err != nil {
		text := brief(err)
		for file, origin := range k.origins {
			text = strings.ReplaceAll(text, file, origin)
		}
		return nil, fmt.Errorf("the known hosts can't be parsed: %s", text)
	}
	return k, nil
}

// clean returns a text with invalid lines emptied, so that the numbers of the
// others stay. An invalid @revoked line is an error: without the line, a revoked
// key would be trusted.
func (k *hostKeys) clean(t knownText) (string, error) {
	var b strings.Builder
	number := 0
	for line := range strings.Lines(t.text) {
		number++
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			if _, _, _, _, _, err := ssh.ParseKnownHosts([]byte(line)); err != nil {
				where := fmt.Sprintf("%s:%d", t.origin, number)
				if strings.HasPrefix(line, "@revoked") {
					return "", fmt.Errorf("%s: this @revoked line can't be parsed: correct it", where)
				}
				k.invalid = append(k.invalid, where)
				line = ""
			}
		}
		b.WriteString(line + "\n")
	}
	return b.String(), nil
}

// algorithms returns the host key algorithms to accept from a host, in order of
// preference: certificates if an authority is known for the host, then the types
// of its known keys, so that the host does not offer a key of another type.
func (k *hostKeys) algorithms(keyName string) []string {
	const certificate = "-cert-v01@openssh.com"
	known := append(k.db.HostKeyAlgorithms(keyName), k.db.HostKeyAlgorithms(withoutPort(keyName))...)
	certified := slices.ContainsFunc(known, func(a string) bool { return strings.HasSuffix(a, certificate) })
	rank := func(algorithm string) int {
		switch {
		case strings.HasSuffix(algorithm, certificate):
			return 0
		case slices.Contains(known, algorithm):
			return 1
		case algorithm == ssh.KeyAlgoED25519: // the shortest line to add
			return 2
		}
		return 3
	}
	all := slices.DeleteFunc(ssh.SupportedAlgorithms().HostKeys, func(a string) bool { return rank(a) == 0 && !certified })
	slices.SortStableFunc(all, func(a, b string) int { return rank(a) - rank(b) })
	return all
}

// check is an ssh.HostKeyCallback.
func (k *hostKeys) check(keyName string, from net.Addr, key ssh.PublicKey) error {
	err := k.checkName(keyName, from, key)
	if !errors.As(err, new(*unknownError)) || k.checkName(withoutPort(keyName), from, key) != nil {
		return err
	}
	return nil // as ssh, which looks for the name alone then (check_host_key in sshconnect.c)
}

// withoutPort returns the name of a host that is looked up without its port.
func withoutPort(keyName string) string {
	name, _, err := net.SplitHostPort(keyName)
	if err != nil {
		return keyName
	}
	return net.JoinHostPort(name, defaultPort)
}

func (k *hostKeys) checkName(keyName string, from net.Addr, key ssh.PublicKey) error {
	// A certificate of an unknown authority counts as the key that it contains.
	if cert, ok := key.(*ssh.Certificate); ok && !k.isAuthority(keyName, cert.SignatureKey) {
		key = cert.Key
	}
	if err := k.db.HostKeyCallback()(keyName, from, key); err != nil {
		return remote.At("host key", k.keyError(keyName, key, err))
	}
	// The library verifies an authority's signature by any algorithm of its key.
	if cert, ok := key.(*ssh.Certificate); ok && usesSHA1(cert.Signature.Format) {
		return remote.At("host key", fmt.Errorf("the certificate of the key %s is signed with SHA-1 (%s): sign it again by `ssh-keygen -t rsa-sha2-512 -s`", describe(cert.Key), cert.Signature.Format))
	}
	return nil
}

func (k *hostKeys) isAuthority(keyName string, key ssh.PublicKey) bool {
	return slices.ContainsFunc(k.db.HostKeys(keyName), func(known knownhosts.PublicKey) bool {
		return known.Cert && bytes.Equal(known.Marshal(), key.Marshal())
	})
}

func (k *hostKeys) keyError(keyName string, key ssh.PublicKey, err error) error {
	var revoked *xknownhosts.RevokedError
	if errors.As(err, &revoked) {
		return fmt.Errorf("the key %s is revoked by %s: the server that uses it may not be the host", describe(key), k.where(revoked.Revoked))
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		return fmt.Errorf("the certificate of the key %s is not valid: %s", describe(cert.Key), brief(err))
	}
	var unlike *xknownhosts.KeyError
	if !errors.As(err, &unlike) {
		return errors.New(brief(err))
	}
	if len(unlike.Want) == 0 {
		return k.unknown(keyName, key)
	}
	own := slices.IndexFunc(unlike.Want, func(w xknownhosts.KnownKey) bool { return !k.isAuthority(keyName, w.Key) })
	if own < 0 {
		return fmt.Errorf("the key %s has no certificate of the authority that %s names for the host", describe(key), k.where(unlike.Want[0]))
	}
	old := unlike.Want[own]
	return fmt.Errorf("the key has changed: %s instead of %s, which %s has for the host. This may be an attack; if the host was reinstalled, %s and replace that line",
		describe(key), describe(old.Key), k.where(old), remote.CompareKey(key.Type()))
}

// unknownError is the error for a host without a known key.
type unknownError struct{ text string }

func (e *unknownError) Error() string { return e.text }

func (k *hostKeys) unknown(keyName string, key ssh.PublicKey) error {
	text := fmt.Sprintf("the key %s is unknown: %s, then add this line to %s: %s", describe(key), remote.CompareKey(key.Type()), k.addTo, xknownhosts.Line([]string{keyName}, key))
	if n := len(k.invalid); n > 0 {
		text += fmt.Sprintf(" (%d of the known_hosts lines can't be parsed, the first is %s)", n, k.invalid[0])
	}
	return &unknownError{text}
}

func (k *hostKeys) where(known xknownhosts.KnownKey) string {
	return fmt.Sprintf("%s:%d", k.origins[known.Filename], known.Line)
}

// describe returns a key's type and fingerprint as ssh-keygen -l prints them.
func describe(key ssh.PublicKey) string { return key.Type() + " " + ssh.FingerprintSHA256(key) }
