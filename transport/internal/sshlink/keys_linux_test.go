package sshlink

import (
	"os/exec"
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
