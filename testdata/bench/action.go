//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/org/portcheck/internal/testbed"
)

const nothing = "portcheck-bench-nothing" // image of a program that does nothing

// measureAction measures the container action on the local engine, started as
// GitHub's runner starts it, and compares it with the container starts it needs.
func measureAction(image string) error {
	dir, err := os.MkdirTemp("", "portcheck-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := importNothing(dir); err != nil {
		return err
	}
	defer func() { _ = exec.Command("docker", "rmi", nothing).Run() }() // fails if importNothing failed
	taken, err := net.Listen("tcp", ":0")
	if err != nil {
		return err
	}
	defer taken.Close()
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	start := []string{
		"run", "--rm", "--workdir", "/github/workspace", "-e", "GITHUB_ACTIONS=true", "-e", "GITHUB_WORKSPACE=/github/workspace",
		"-e", "INPUT_PORT=" + port, "-e", "INPUT_FAIL-ON=never", "-e", "INPUT_QUIET=true",
		"-v", "/var/run/docker.sock:/var/run/docker.sock", "-v", dir + ":/github/workspace",
	}
	docker := func(args ...string) *exec.Cmd { return command("docker", args...) }
	all, err := takeTurns(
		docker(append(start[:len(start):len(start)], "--entrypoint", "/usr/local/bin/portcheck", image, "action")...),
		docker(append(start[:len(start):len(start)], image, "portcheck", "version")...),
		docker("run", "--rm", "--network", "host", nothing),
	)
	if err != nil {
		return err
	}
	if !strings.Contains(all[0].outputs[0], "is in use by bench") {
		return fmt.Errorf("the action did not name the process that holds port %s: %s", port, all[0].outputs[0])
	}
	version, err := exec.Command("docker", "version", "--format", "{{.Server.Version}}").Output()
	if err != nil {
		return err
	}
	whole, own, host := all[0].median, all[1].median, all[2].median
	fmt.Printf("linux %s, docker %s; medians of %d runs in turns\n", kernel(), strings.TrimSpace(string(version)), turns)
	fmt.Println("| what | time | at most |\n| --- | --- | --- |")
	fmt.Printf("| the whole action: one port, taken by a process of the runner, its holder named | %.0f ms | |\n", ms(whole))
	fmt.Printf("| its container alone, with `portcheck version` | %.0f ms | |\n", ms(own))
	fmt.Printf("| `docker run --rm --network host` of a static image that does nothing | %.0f ms | |\n", ms(host))
	fmt.Printf("| the action beyond both container starts | %.0f ms | 150 ms |\n", ms(whole-own-host))
	return nil
}

// importNothing creates the image nothing.
func importNothing(dir string) error {
	source, binary := filepath.Join(dir, "nothing.go"), filepath.Join(dir, "nothing")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		return err
	}
	if err := build(binary, source); err != nil {
		return err
	}
	code, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	layer, err := testbed.Layer("nothing", code)
	if err != nil {
		return err
	}
	load := exec.Command("docker", "import", "--change", `CMD ["/nothing"]`, "-", nothing)
	load.Stdin = bytes.NewReader(layer)
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("docker import: %w\n%s", err, out)
	}
	return nil
}
