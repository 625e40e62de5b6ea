package sshlink

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"github.com/org/portcheck/transport/internal/remote"
)

func publicKeys(t *testing.T) (ed, ec, rs ssh.PublicKey) {
	t.Helper()
	edKey, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		to  *ssh.PublicKey
		key any
	}{{&ed, edKey}, {&ec, &ecKey.PublicKey}, {&rs, &rsKey.PublicKey}} {
		if *k.to, err = ssh.NewPublicKey(k.key); err != nil {
			t.Fatal(err)
		}
	}
	return ed, ec, rs
}

// The client requests a key of a type that is known. With a key of another type the
// host would look like another host.
func TestHostKeyAlgorithms(t *testing.T) {
	ed, ec, rs := publicKeys(t)
	line := func(k ssh.PublicKey) string { return xknownhosts.Line([]string{"host:22"}, k) + "\n" }
	for name, c := range map[string]struct {
		lines        string
		first        []string // in any order
		certificates bool
	}{
		"unknown":      {xknownhosts.Line([]string{"other:22"}, rs), []string{ssh.KeyAlgoED25519}, false},
		"Ed25519":      {line(ed), []string{ssh.KeyAlgoED25519}, false},
		"ECDSA":        {line(ec), []string{ssh.KeyAlgoECDSA256}, false},
		"RSA":          {line(rs), []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512}, false},
		"two":          {line(ec) + line(ed), []string{ssh.KeyAlgoECDSA256, ssh.KeyAlgoED25519}, false},
		"an authority": {"@cert-authority " + line(ed), nil, true},
	} {
		keys, err := parseKnown([]knownText{{"known", c.lines}})
		if err != nil {
			t.Fatal(err)
		}
		got := keys.algorithms("host:22")
		for _, a := range got[:len(c.first)] {
			if !slices.Contains(c.first, a) {
				t.Errorf("%s: %q; want %q first", name, got, c.first)
			}
		}
		isCertificate := func(a string) bool { return strings.Contains(a, "-cert-") }
		if slices.ContainsFunc(got, isCertificate) != c.certificates || c.certificates && !isCertificate(got[0]) {
			t.Errorf("%s: %q", name, got)
		}
		for _, a := range []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoRSASHA512} {
			if !slices.Contains(got, a) {
				t.Errorf("%s: %q; want %s, too", name, got, a)
			}
		}
	}
}

// The advice names the file of a key of the same type.
func TestCompare(t *testing.T) {
	ed, ec, rs := publicKeys(t)
	for file, k := range map[string]ssh.PublicKey{"ed25519": ed, "ecdsa": ec, "rsa": rs} {
		if got, want := remote.CompareKey(k.Type()), "compare it with the output of `ssh-keygen -lf /etc/ssh/ssh_host_"+file+"_key.pub` on the host"; got != want {
			t.Errorf("%s: %s; want %s", file, got, want)
		}
		if got, want := describe(k), k.Type()+" "+ssh.FingerprintSHA256(k); got != want {
			t.Errorf("%s: %s; want %s", file, got, want)
		}
	}
}
