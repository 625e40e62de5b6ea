package transport

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

func TestBinaries(t *testing.T) {
	dir := t.TempDir()
	foreign := system{"plan9", "mips"}
	text := append(bytes.Repeat([]byte("portcheck"), 1<<12), "path\tgithub.com/org/portcheck\n"...)
	secret := filepath.Join(t.TempDir(), "portcheck-plan9-link")
	if err := os.WriteFile(filepath.Join(dir, "portcheck-plan9-mips"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "portcheck-plan9-arm"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(secret, text, 0o600), os.WriteFile(filepath.Join(dir, "portcheck-plan9-other"), []byte("root:*:1::::::"), 0o600)); err != nil {
		t.Fatal(err)
	}
	var small bytes.Buffer
	w := gzip.NewWriter(&small)
	_, _ = w.Write(text) // into memory
	_ = w.Close()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "portcheck-plan9-packed.gz"), small.Bytes(), 0o600), os.WriteFile(filepath.Join(dir, "portcheck-plan9-broken.gz"), text, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "portcheck-plan9-link")); err != nil {
		testbed.Missing(t, err.Error()) // Windows may forbid it
	}
	all := binaries{dir: dir}
	for s, want := range map[system][]string{
		foreign:                        nil,
		{runtime.GOOS, runtime.GOARCH}: nil,
		{"plan9", "arm"}:               {"is not a regular file"},
		{"plan9", "link"}:              {"a link leads out of"},
		{"plan9", "packed"}:            nil,
		{"plan9", "broken"}:            {"is not a portcheck"},
		{"plan9", "other"}:             {"portcheck-plan9-other is not a portcheck"},
		{"plan9", "386"}:               {"there is no portcheck executable for plan9/386 in " + dir + " (--agent-dir)"},
		{"plan9", ""}:                  {"the host's system is unknown"},
		{"", "arm"}:                    {"the host's system is unknown"},
		{"az", "a0_9z"}:                {"there is no portcheck executable for az/a0_9z in"},
		{"linux", "../x"}:              {`no portcheck executable for a system named "linux/../x"`},
		{"lin.ux", "arm"}:              {"for a system named"},
		{"linux", "ARM"}:               {"for a system named"},
		{"linux", "z{"}:                {"for a system named"},
		{"linux", "x/"}:                {"for a system named"},
		{"linux", "a:"}:                {"for a system named"},
		{"linux", "x86`"}:              {"for a system named"},
	} {
		_, err := all.find(s)
		if err == nil != (want == nil) {
			t.Errorf("%s: %v", s, err)
		} else if err != nil {
			checkText(t, err.Error(), want...)
		}
	}
	bin, err := all.find(foreign)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := bin.packed()
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, text) || len(packed) > len(text)/10 {
		t.Errorf("%d bytes, unpacked %d: %v", len(packed), len(got), err)
	}
	if hash, err := bin.hash(); err != nil || hash != fmt.Sprintf("%x", sha256.Sum256(text)) {
		t.Errorf("hash %s, %v", hash, err)
	}
	same, err := all.find(system{"plan9", "packed"})
	if err != nil {
		t.Fatal(err)
	}
	sent, err := same.packed()
	if hash, hashErr := same.hash(); err != nil || hashErr != nil || !bytes.Equal(sent, small.Bytes()) || hash != fmt.Sprintf("%x", sha256.Sum256(text)) {
		t.Errorf("one that is packed: hash %s, %v, %v", hash, hashErr, err)
	}
	if again, err := all.find(foreign); err != nil || again != bin {
		t.Errorf("it is read again: %v", err)
	}
	// What is sent is what was examined, whatever happens to the file.
	kept := binaries{dir: dir}
	if bin, err = kept.find(foreign); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "new"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "portcheck-plan9-mips")); err != nil {
		t.Fatal(err)
	}
	if hash, err := bin.hash(); err != nil || hash != fmt.Sprintf("%x", sha256.Sum256(text)) {
		t.Errorf("after the file was replaced: hash %s, %v", hash, err)
	}
	// Without a directory, the executables for other systems are beside our own.
	if _, err := (&binaries{}).find(system{"plan9", "386"}); err != nil {
		checkText(t, err.Error(), filepath.Join("lib", "portcheck"))
	} else {
		t.Error("found one for plan9/386")
	}
}

func TestParseSystem(t *testing.T) {
	for text, want := range map[string]string{
		"Linux x86_64": "linux/amd64", "Linux aarch64": "linux/arm64", "Linux i386": "linux/386", "Linux i486": "linux/386", "Linux i586": "linux/386", "Linux i686": "linux/386",
		"Linux armv5l": "linux/arm", "Linux armv6l": "linux/arm", "Linux armv7l": "linux/arm", "Linux armv8l": "linux/arm",
		"Linux loongarch64": "linux/loong64", "Linux riscv64": "linux/riscv64", "Darwin arm64": "darwin/arm64", "FreeBSD amd64": "freebsd/amd64", "": "/",
	} {
		if got := parseSystem(text).String(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// checkText checks that text contains each of words.
func checkText(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q; want %q", text, w)
		}
	}
}
