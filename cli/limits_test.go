package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/config"
)

// linted returns what lint prints for a manifest on stdin, and its exit code.
func linted(t *testing.T, manifest string, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := Run(context.Background(), append([]string{"lint", "-", "-q"}, args...), nil, strings.NewReader(manifest), &out, &out)
	return code, out.String()
}

// Each limit of a run has a manifest that reaches it, and one that exceeds it.
func TestLimitsOfARun(t *testing.T) {
	repeat := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	const head = "version: 1\napp: a\n"
	targets := func(n int) string { return head + "targets:\n" + repeat(n, "  t%[1]d: ssh://h%[1]d\n") }
	for name, c := range map[string]struct{ at, beyond, want string }{
		"results": {
			targets(256) + "ports:\n" + repeat(128, "  - {name: n%[1]d, port: 2%03[1]d}\n"),
			targets(256) + "ports:\n" + repeat(129, "  - {name: n%[1]d, port: 2%03[1]d}\n"),
			"-:389:24: error: more than 32768 results, the limit of a run",
		},
		"endpoints of a target": {
			head + "ports:\n  - {name: w, port: 1-32768, address: loopback}\n",
			head + "ports:\n  - {name: w, port: 1-32769, address: loopback}\n",
			`-:4:21: error: more than 65536 endpoints on target "local"`,
		},
		"endpoints of a run": {
			targets(2) + "ports:\n  - {name: w, port: 1-32768, address: loopback}\n",
			targets(3) + "ports:\n  - {name: w, port: 1-32768, address: loopback}\n",
			"-:8:21: error: more than 131072 endpoints, the limit of a run",
		},
		"names for one target": {
			head + "targets:\n" + repeat(4, "  t%d: local\n") + "ports:\n  - {name: w, port: 80}\n",
			head + "targets:\n" + repeat(5, "  t%d: local\n") + "ports:\n  - {name: w, port: 80}\n",
			`-:8:3: error: target "t4" is number 5 that is local: at most 4 of a run may be the same`,
		},
		"ranges": {
			targets(256) + "range: [" + repeat(1024, "%d,")[len("0,"):] + "1024]\nports:\n  - {name: w, port: 80}\n",
			targets(256) + "range: [" + repeat(1025, "%d,")[len("0,"):] + "1025]\nports:\n  - {name: w, port: 80}\n",
			"-:262:21: error: more than 262144 ports and ranges in range",
		},
	} {
		if code, out := linted(t, c.at); code != exitOK {
			t.Errorf("%s, at the limit: exit code %d: %.300s", name, code, out)
		}
		if code, out := linted(t, c.beyond); code != exitUsage || !strings.HasPrefix(out, c.want) {
			t.Errorf("%s, beyond the limit: exit code %d: %.300s", name, code, out)
		}
	}
	// Flags multiply as well.
	block := head + "ports:\n  - {name: w, port: 80, address: loopback}\n"
	if code, out := linted(t, block, "--set", "w=1-65535"); code != exitUsage || !strings.Contains(out, "more than 65536 endpoints") {
		t.Errorf("--set: exit code %d: %.300s", code, out)
	}
	if code, out := linted(t, block, "-p", "1-65535", "-p", "1-65535/udp"); code != exitUsage || !strings.HasPrefix(out, "--port: error: more than 65536 endpoints") {
		t.Errorf("--port: exit code %d: %.300s", code, out)
	}
}

func TestLimitsOfFlags(t *testing.T) {
	for text, want := range map[string]string{
		"--wait 24h0m1s":                        `--wait "24h0m1s": want at most 24h`,
		"--wait 2562047h47m":                    `--wait "2562047h47m": want at most 24h`,
		"--wait 99999999h":                      `--wait "99999999h": want a number and a unit, such as 500ms, 30s or 1m30s, and at most 24h`,
		"--timeout 25h":                         `--timeout "25h": want at most 24h`,
		"--alternatives 1001":                   "--alternatives 1001: want a number from 0 to 1000",
		"--candidates 65536":                    "--candidates 65536: want a number from 0 to 65535",
		"list --timeout 25h":                    `--timeout "25h": want at most 24h`,
		"free --range 80 --timeout 25h":         `--timeout "25h": want at most 24h`,
		"free --range 80 -n 65536":              "-n 65536: want a number from 1 to 65535",
		"probe --for 24h1s":                     `--for "24h1s": want at most 24h`,
		"probe --for -1s":                       "--for -1s: want a duration above 0",
		"assign -p 8080 --for 0s":               "--for 0s: want a duration above 0",
		"merge x.json --alternatives 100000000": "--alternatives 100000000: want a number from 0 to 1000",
	} {
		var out bytes.Buffer
		if code := Run(context.Background(), strings.Fields(text), nil, strings.NewReader(""), &out, &out); code != exitUsage || !strings.HasPrefix(out.String(), "portcheck: "+want) {
			t.Errorf("%s: exit code %d: %s", text, code, out.String())
		}
	}
}

// The lifetime of a helper is a sum of products of durations that users choose.
func TestLifetimeHasALimit(t *testing.T) {
	const day = config.MostDuration
	for _, c := range []struct {
		batches       int
		timeout, wait time.Duration
		want          time.Duration
	}{
		{1, 30 * time.Second, 0, 105 * time.Second},
		{2, 30 * time.Second, time.Minute, 255 * time.Second},
		{1, day, day, day - lifetimeMargin},
		{mostTargets, day, day, day - lifetimeMargin},
		{1 << 20, day, day, day - lifetimeMargin},
		{1, 30 * time.Second, day, day - lifetimeMargin},
		{0, time.Second, 0, lifetimeMargin},
	} {
		if got := lifetime(c.batches, c.timeout, c.wait); got != c.want {
			t.Errorf("%d batches, timeout %s, wait %s: %s, want %s", c.batches, c.timeout, c.wait, got, c.want)
		}
	}
}
