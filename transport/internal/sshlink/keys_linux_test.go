package sshlink

import (
	"strconv"
	"strings"
	"testing"
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
