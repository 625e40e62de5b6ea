package pipelines

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestReleaseNotesVerifyWhoBuilt checks that each command in the notes of a release
// accepts only what the release's workflow has built from the branch that it
// demands, and that every kind of artifact has a command.
func TestReleaseNotesVerifyWhoBuilt(t *testing.T) {
	var config struct{ Release struct{ Footer string } }
	if err := yaml.Unmarshal([]byte(read(t, "../../.goreleaser.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	const file, branch = ".github/workflows/release.yml", "refs/heads/main"
	release := read(t, "../../"+file)
	if !strings.Contains(release, "[[ $GITHUB_REF == "+branch+" ]] || fail") {
		t.Errorf("%s does not demand %s", file, branch)
	}
	identity := []string{"--certificate-identity https://github.com/org/portcheck/" + file + "@" + branch, "--certificate-oidc-issuer https://token.actions.githubusercontent.com"}
	builder := []string{"--repo org/portcheck", "--signer-workflow org/portcheck/" + file, "--source-ref " + branch, "--deny-self-hosted-runners"}
	want := map[string][]string{
		"cosign verify-blob checksums.txt": identity,
		"cosign verify {{":                 identity,
		"gh attestation verify FILE":       builder,
		"gh attestation verify oci://{{":   builder,
		"sha256sum --check":                nil,
	}
	for start, flags := range want {
		lines := strings.Split(config.Release.Footer, "\n")
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, start) })
		if i < 0 {
			t.Errorf("the notes have no command %q", start)
			continue
		}
		for _, f := range flags {
			if !strings.Contains(lines[i]+" ", " "+f+" ") {
				t.Errorf("%s\nlacks %s", lines[i], f)
			}
		}
	}
	commands := regexp.MustCompile("(?m)^ *(cosign|gh|sha256sum) ").FindAllString(config.Release.Footer, -1)
	if len(commands) != len(want) {
		t.Errorf("the notes have %d commands, want %d", len(commands), len(want))
	}
}

// TestReleaseComparesTheImage checks that a release compares the image with the
// archives before it is published. internal/acceptance tests the script.
func TestReleaseComparesTheImage(t *testing.T) {
	var w struct {
		Jobs map[string]struct {
			Steps []struct{ Name, Run, Uses string }
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "../../.github/workflows/release.yml")), &w); err != nil {
		t.Fatal(err)
	}
	steps := w.Jobs["release"].Steps
	built := slices.IndexFunc(steps, func(s struct{ Name, Run, Uses string }) bool { return strings.HasPrefix(s.Uses, "goreleaser/") })
	compared := slices.IndexFunc(steps, func(s struct{ Name, Run, Uses string }) bool {
		return s.Run == `.ci/compare-image "$IMAGE@$DIGEST" dist amd64 arm64`
	})
	published := slices.IndexFunc(steps, func(s struct{ Name, Run, Uses string }) bool { return strings.Contains(s.Run, "--draft=false") })
	if built < 0 || compared < built || published < compared {
		t.Errorf("built in step %d, compared in %d, published in %d", built, compared, published)
	}
	if info, err := os.Stat("../../.ci/compare-image"); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("%v, %v", info, err)
	}
}
