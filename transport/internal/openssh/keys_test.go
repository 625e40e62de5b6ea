package openssh

import (
	"os"
	"path/filepath"
	"testing"
)

// TestFilesThatNameKeys holds when ssh is not asked what the files say about each host: on
// a host with Debian's own file that would be one more process a target.
func TestFilesThatNameKeys(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("plain", "Host *\n  User deploy\n")
	write("keys", "Host *\n  IdentityFile ~/.ssh/other\n")
	write("d/a.conf", "Host *\n\tidentityfile=x\n")
	for text, want := range map[string]bool{
		"Host *\n#   IdentityFile ~/.ssh/id_rsa\n  # CertificateFile x\n    SendEnv LANG\n": false,
		"Include plain none-such\n":            false,
		"IdentityFile ~/.ssh/id\n":             true,
		"Host a\n  CertificateFile ~/c\n":      true,
		"Match all IdentityFile x\n":           true,
		"User a # IdentityFile x\n":            true, // it may be another word of the line
		"Include keys\n":                       true,
		"Include = keys\n":                     true,
		"Include plain d/*.conf\n":             true,
		"Include ~/.ssh/other\n":               true, // it is not looked into
		"#Include keys\r\n  \t# Include d/*\n": false,
	} {
		write("config", text)
		left := mostConfigFiles
		if got := mayNameKeys(filepath.Join(dir, "config"), dir, &left); got != want {
			t.Errorf("%q: %t, want %t", text, got, want)
		}
	}
}
