package sshlink

import (
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// TestWrongPassphrasesOfOldKeys checks that each wrong passphrase of a key in the old
// format is told as that, also the one of 256 whose result has the form of a decrypted
// text.
func TestWrongPassphrasesOfOldKeys(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ecdsa", "rsa"} {
		file := t.TempDir() + "/key"
		run(t, nil, "ssh-keygen", "-q", "-t", kind, "-m", "PEM", "-N", "right", "-f", file)
		text := []byte(read(t, file))
		for i := range 2000 {
			d := New(Options{Env: map[string]string{passphraseVariable: strconv.Itoa(i)}})
			if _, err := d.parseKey(text); err == nil || !strings.Contains(err.Error(), "can't be decrypted with the passphrase in "+passphraseVariable) {
				t.Fatalf("%s, passphrase %d: %v", kind, i, err)
			}
		}
		if _, err := New(Options{Env: map[string]string{passphraseVariable: "right"}}).parseKey(text); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestOldKeysThatCannotBeUsed checks that the passphrase is not blamed for a cipher or a
// curve that is not supported, and for a broken header.
func TestOldKeysThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		testbed.Missing(t, err.Error())
	}
	made := func(curve, cipher string) string {
		dir := t.TempDir()
		run(t, nil, openssl, "ecparam", "-name", curve, "-genkey", "-noout", "-out", dir+"/plain")
		run(t, nil, openssl, "ec", "-in", dir+"/plain", cipher, "-passout", "pass:right", "-out", dir+"/key")
		return read(t, dir+"/key")
	}
	usable := made("prime256v1", "-aes128")
	broken := strings.Replace(usable, "DEK-Info: AES-128-CBC,", "DEK-Info: AES-128-CBC,zz", 1)
	d := New(Options{Env: map[string]string{passphraseVariable: "right"}})
	if _, err := d.parseKey([]byte(usable)); err != nil {
		t.Errorf("a usable key: %v", err)
	}
	for what, text := range map[string]string{
		"a curve that is not supported":  made("secp256k1", "-aes128"),
		"a cipher that is not supported": made("prime256v1", "-camellia128"),
		"a broken header":                broken,
	} {
		if _, err := d.parseKey([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "contains no usable private key: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
	wrong := New(Options{Env: map[string]string{passphraseVariable: "wrong"}})
	if _, err := wrong.parseKey([]byte(made("secp256k1", "-aes128"))); err == nil || !strings.Contains(err.Error(), "can't be decrypted with the passphrase in ") {
		t.Errorf("a wrong passphrase: %v", err)
	}
}

// TestDamagedKeys checks that the passphrase is not blamed for a file of which a part is
// missing, and that the file is.
func TestDamagedKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		flags []string
	}{
		{"old RSA", []string{"-t", "rsa", "-m", "PEM", "-N", "right"}},
		{"old ECDSA", []string{"-t", "ecdsa", "-b", "521", "-m", "PEM", "-N", "right"}},
		{"old, not encrypted", []string{"-t", "rsa", "-m", "PEM", "-N", ""}},
		{"OpenSSH", []string{"-t", "ed25519", "-a", "1", "-N", "right"}},
		{"OpenSSH, RSA", []string{"-t", "rsa", "-a", "1", "-N", "right"}},
		{"OpenSSH, not encrypted", []string{"-t", "ecdsa", "-N", ""}},
	} {
		file := t.TempDir() + "/key"
		run(t, nil, "ssh-keygen", append([]string{"-q", "-f", file}, c.flags...)...)
		lines := strings.SplitAfter(read(t, file), "\n")
		first := 1
		if i := slices.Index(lines, "\n"); i > 0 {
			first = i + 1 // the headers come before
		}
		last := len(lines) - 3 // before END and what follows it
		old := first > 1
		check := func(what string, lines []string) {
			t.Helper()
			text := strings.Join(lines, "")
			_, err := New(Options{Env: map[string]string{passphraseVariable: "right"}}).parseKey([]byte(text))
			damaged := err != nil && strings.HasPrefix(err.Error(), "is damaged: a part of it is missing or changed")
			either := old && err != nil && strings.HasSuffix(err.Error(), ": that is wrong, or the file is damaged")
			if !damaged && !either {
				t.Errorf("%s, %s: %v", c.name, what, err)
			}
		}
		for i := first; i <= last; i++ {
			check(fmt.Sprintf("without line %d", i), slices.Delete(slices.Clone(lines), i, i+1))
			cut := slices.Clone(lines)
			cut[i] = cut[i][min(4, len(cut[i])-1):]
			check(fmt.Sprintf("with line %d cut", i), cut)
			cut[i] = "!" + lines[i]
			check(fmt.Sprintf("with a stranger in line %d", i), cut)
		}
		_, err := New(Options{}).parseKey([]byte(strings.Join(lines[:last], "")))
		if err == nil || !strings.Contains(err.Error(), "it must be complete, from -----BEGIN to -----END") {
			t.Errorf("%s, without its end: %v", c.name, err)
		}
		if old { // without a passphrase it can be told as well, if it is no whole number of blocks
			cut := slices.Clone(lines)
			cut[first] = cut[first][4:]
			_, err := New(Options{}).parseKey([]byte(strings.Join(cut, "")))
			if err == nil || !strings.HasPrefix(err.Error(), "is damaged: ") {
				t.Errorf("%s, with a cut start: %v", c.name, err)
			}
		}
	}
}
