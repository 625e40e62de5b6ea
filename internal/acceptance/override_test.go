//go:build linux

package acceptance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// Two copies of one Compose project run side by side on one host, each on the ports of
// its override file, and each on those of its variables.
func TestTwoCopiesOfAComposeProject(t *testing.T) {
	imageUnderTest(t)
	image, err := serverImage()
	if err != nil {
		t.Fatal(err)
	}
	words, plugin := composeClient(t)
	binary, err := portcheckBinary()
	if err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, 2)
	text := fmt.Sprintf(`services:
  web:
    image: %s
    command: ["/server", "80", "81"]
    stop_grace_period: 1s
    ports:
      - "%d:80"
      - "127.0.0.1::81"
  api:
    image: %s
    command: ["/server", "80"]
    stop_grace_period: 1s
    ports: ["127.0.0.1:${API_PORT:-%d}:80"]
`, image, ports[0], image, ports[1])
	const pool = "24000-24999"
	used := map[string]string{}
	for _, copied := range []string{"a", "b"} {
		dir := filepath.Join(temp(t), "copy-"+copied)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "compose.yaml"), text)
		run := func(words ...string) string {
			t.Helper()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, words[0], words[1:]...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "COMPOSE_PROJECT_NAME="+filepath.Base(filepath.Dir(dir))+copied, "DOCKER_HOST=unix://"+engineSocket, "PORTCHECK_JOB="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
			}
			return string(out)
		}
		t.Cleanup(func() { run(binary, "release") })
		run(binary, "assign", "-q", "--range", pool, "-o", "compose=override.yaml", "-o", "dotenv=ports.env")
		compose := append(words[:len(words):len(words)], "-f", "compose.yaml", "-f", "override.yaml")
		if !plugin { // it does not know !override
			write(t, filepath.Join(dir, "merged.yaml"), mergedForVersion1(t, dir))
			compose = append(words[:len(words):len(words)], "-f", "merged.yaml")
		}
		t.Cleanup(func() { run(append(compose, "down", "-t", "1")...) })
		run(append(compose, "up", "-d")...)
		run(binary, "verify", "--wait", "20s") // listening, and held by the service of this project

		// The variable of the file is the need's.
		var apiPort string
		for line := range strings.Lines(read(t, filepath.Join(dir, "ports.env"))) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			if other := used[value]; other != "" {
				t.Errorf("%s has port %s, as %s", copied, value, other)
			}
			used[value] = copied
			if name == "API_PORT" {
				apiPort = value
			}
		}
		if config := run(append(words[:len(words):len(words)], "--env-file", "ports.env", "config")...); apiPort == "" || !strings.Contains(config, apiPort) {
			t.Errorf("with ports.env, API_PORT %q:\n%s", apiPort, config)
		}
	}
	if len(used) != 4 {
		t.Errorf("ports %v, want 4", used)
	}
}

// mergedForVersion1 returns the project of a directory as Compose merges it, in the
// syntax of its version 1.
func mergedForVersion1(t *testing.T, dir string) string {
	t.Helper()
	details := types.ConfigDetails{WorkingDir: dir, Environment: types.Mapping{}}
	for _, name := range []string{"compose.yaml", "override.yaml"} {
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: filepath.Join(dir, name)})
	}
	project, err := loader.LoadWithContext(t.Context(), details, func(o *loader.Options) { o.SetProjectName("merged", true) })
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("version: '3.8'\nservices:\n")
	for name, s := range project.Services {
		fmt.Fprintf(&b, "  %s:\n    image: %s\n    command: [%s]\n    stop_grace_period: 1s\n    ports:\n", name, s.Image, `"`+strings.Join(s.Command, `", "`)+`"`)
		for _, p := range s.Ports {
			address := p.HostIP
			if address != "" {
				address += ":"
			}
			fmt.Fprintf(&b, "      - %q\n", fmt.Sprintf("%s%s:%d/%s", address, p.Published, p.Target, p.Protocol))
		}
	}
	return b.String()
}
