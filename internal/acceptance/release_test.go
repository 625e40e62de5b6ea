//go:build linux

package acceptance

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestReleaseComparesTheImage checks the step of a release that compares the image's
// executables with those in the archives.
func TestReleaseComparesTheImage(t *testing.T) {
	image := imageUnderTest(t)
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	files := temp(t)
	id := docker(t, "create", image)
	t.Cleanup(func() { docker(t, "rm", id) })
	for arch, path := range map[string]string{runtime.GOARCH: "/usr/local/bin/portcheck", other: "/usr/local/lib/portcheck/portcheck-linux-" + other + ".gz"} {
		if err := os.Mkdir(filepath.Join(files, arch), 0o755); err != nil {
			t.Fatal(err)
		}
		copyFrom(t, id, path, filepath.Join(files, arch, "portcheck"))
	}
	archive := func(dir, arch, from string) {
		t.Helper()
		write(t, filepath.Join(from, "LICENSE"), "a license")
		if out, err := shell("tar", "-C", from, "-czf", filepath.Join(dir, "portcheck_1.2.3_linux_"+arch+".tar.gz"), "LICENSE", "portcheck"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	changed := filepath.Join(files, "changed")
	if err := os.Mkdir(changed, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(changed, "portcheck"), read(t, filepath.Join(files, runtime.GOARCH, "portcheck"))+"x")
	for name, c := range map[string]struct {
		own, other string // directories of the archives' files; "" for no archive
		want       string // in the error; "" for success
	}{
		"the same":                 {own: runtime.GOARCH, other: other},
		"another executable":       {own: "changed", other: other, want: ": /usr/local/bin/portcheck for " + runtime.GOARCH + " is not the executable in the archive for linux_" + runtime.GOARCH},
		"another one to send":      {own: runtime.GOARCH, other: "changed", want: "/portcheck-linux-" + other + " for " + runtime.GOARCH + " is not the executable in the archive for linux_" + other},
		"nothing to compare with":  {other: other, want: "has not exactly one archive for linux_" + runtime.GOARCH},
		"nothing to compare, sent": {own: runtime.GOARCH, want: "has not exactly one archive for linux_" + other},
	} {
		t.Run(name, func(t *testing.T) {
			dir := temp(t)
			for arch, from := range map[string]string{runtime.GOARCH: c.own, other: c.other} {
				if from != "" {
					archive(dir, arch, filepath.Join(files, from))
				}
			}
			// This engine has the image for one architecture only.
			out, err := shell("../../.ci/compare-image", image, dir, runtime.GOARCH)
			if (err == nil) != (c.want == "") || !strings.Contains(out, c.want) {
				t.Errorf("%v; want %q\n%s", err, c.want, out)
			}
		})
	}
}

// copyFrom copies a file from a container, and decompresses it if its name ends in .gz.
func copyFrom(t *testing.T, id, path, file string) {
	t.Helper()
	to := file + filepath.Ext(path)
	docker(t, "cp", id+":"+path, to)
	if to == file {
		return
	}
	if out, err := shell("gunzip", to); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
