//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

const (
	fleetSize  = 200
	fleetTurns = 3
	atOnce     = 16
)

// measureFleet measures a check of many targets, which are addresses of one sshd,
// and compares it with ssh(1) running true on the same targets. It starts a process
// for that in a new network namespace.
func measureFleet() error {
	inside := exec.Command("/proc/self/exe", "fleet", "inside")
	inside.Stdout, inside.Stderr = os.Stdout, os.Stderr
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	return inside.Run()
}

func measureFleetInside() error {
	if err := exec.Command("ip", "link", "set", "lo", "up").Run(); err != nil {
		return fmt.Errorf("ip link set lo up: %w", err)
	}
	dir, portcheck, remove, err := buildPortcheck()
	if err != nil {
		return err
	}
	defer remove()
	sshd, err := testbed.LaunchSSHD("0.0.0.0:22", "SetEnv HOME="+filepath.Join(dir, "home"))
	if err != nil {
		return err
	}
	defer sshd.Stop()
	// In a cgroup of its own, as on a host. Otherwise each of the 200 probes, which here
	// are on one machine, would look at the processes of all others.
	stop, err := startTaken("server")
	if err != nil {
		return err
	}
	defer stop()
	known, err := sshd.Known("127.0.1.*")
	if err != nil {
		return err
	}
	manifest, hosts := filepath.Join(dir, "portcheck.yml"), filepath.Join(dir, "hosts")
	if err := writeFleet(manifest, hosts); err != nil {
		return err
	}
	by := func(client string) *exec.Cmd {
		return command(portcheck, "-f", "json", "-q", "--ssh", client, "--agent-cache", "--parallel", strconv.Itoa(atOnce), "--identity", sshd.UserKey, "--known-hosts", known, manifest)
	}
	check := by("openssh")
	ssh := "ssh -i " + sshd.UserKey + " -o UserKnownHostsFile=" + known + " -o BatchMode=yes root@{} true"
	all, err := takeSome(fleetTurns, check, by("builtin"), command("xargs", "-a", hosts, "-P", strconv.Itoa(atOnce), "-I{}", "sh", "-c", ssh))
	if err != nil {
		return err
	}
	for _, a := range all[:2] {
		if err := completeAndOrdered(a.outputs[0]); err != nil {
			return err
		}
	}
	before, err := received()
	if err != nil {
		return err
	}
	memory, err := exec.Command("/proc/self/exe", append([]string{"meter"}, check.Args...)...).Output()
	if err != nil {
		return err
	}
	after, err := received()
	if err != nil {
		return err
	}
	fmt.Printf("linux %s; medians of %d runs in turns; %d targets, %d at a time\n", kernel(), fleetTurns, fleetSize, atOnce)
	fmt.Println("| what | portcheck | against | ratio | at most |\n| --- | --- | --- | --- | --- |")
	const what = "3 needs on each target, 1 of them taken: its holder, 3 alternatives free on all; by %s; against `ssh HOST true`"
	row(fmt.Sprintf(what, "openssh"), all[0].median, all[2].median, "1.25")
	row(fmt.Sprintf(what, "builtin"), all[1].median, all[2].median, "0.9")
	fmt.Printf("| peak memory | %s MB | | | 150 MB |\n", strings.TrimSpace(string(memory)))
	fmt.Printf("| bytes over the network, both ways, for each target | %.1f kB | | | |\n", float64(after-before)/fleetSize/1000)
	return nil
}

// writeFleet writes a manifest with all targets and a list of their addresses.
func writeFleet(manifest, list string) error {
	var hosts, targets strings.Builder
	for i := range fleetSize {
		fmt.Fprintf(&hosts, "127.0.1.%d\n", i+1)
		fmt.Fprintf(&targets, "  app%03d: \"ssh://root@127.0.1.%d\"\n", i+1, i+1)
	}
	text := "version: 1\napp: bench\nrange: 20000-20099\ntargets:\n" + targets.String() +
		"ports:\n  - {name: taken, port: 6001}\n  - {name: free, port: 6101}\n  - {name: udp, port: 6102, protocol: udp}\n"
	return errors.Join(os.WriteFile(manifest, []byte(text), 0o644), os.WriteFile(list, []byte(hosts.String()), 0o644))
}

// completeAndOrdered returns an error unless a report has all results in the order
// of the manifest.
func completeAndOrdered(text string) error {
	var report struct {
		Results []struct {
			ID           string
			Alternatives []int
		}
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	var want, got []string
	for i, name := range []string{"taken", "free", "udp"} {
		for target := range fleetSize {
			want = append(want, fmt.Sprintf("bench/%s@app%03d/%s", name, target+1, []string{"tcp", "tcp", "udp"}[i]))
		}
	}
	for _, r := range report.Results {
		got = append(got, r.ID)
		if strings.HasPrefix(r.ID, "bench/taken@") && fmt.Sprint(r.Alternatives) != "[20000 20001 20002]" {
			return fmt.Errorf("%s has the alternatives %v", r.ID, r.Alternatives)
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		return fmt.Errorf("the results are not complete or not in order: %v", got)
	}
	return nil
}

// received returns the number of bytes that the loopback interface of this
// namespace has received (proc_pid_net(5), dev).
func received() (int, error) {
	text, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		return 0, err
	}
	_, counters, _ := strings.Cut(string(text), "lo:")
	fields := strings.Fields(counters)
	if len(fields) == 0 {
		return 0, errors.New("/proc/self/net/dev has no lo")
	}
	return strconv.Atoi(fields[0])
}
