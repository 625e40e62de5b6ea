//go:build linux

package testbed

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestIsolatedOutcome runs each case's test of this package in a process of its
// own and compares how Isolated reports it.
func TestIsolatedOutcome(t *testing.T) {
	for _, c := range []struct {
		name, outcome string // outcome is SKIP, PASS or FAIL
		mustRun       string
		short         bool
	}{
		{name: "TestCaseSkippedSubtest", outcome: "PASS"},
		{name: "TestCaseSkippedSubtest", outcome: "FAIL", mustRun: "1"},
		{name: "TestCaseMissing", outcome: "SKIP"},
		{name: "TestCaseMissing", outcome: "FAIL", mustRun: "1"},
		{name: "TestCasePlainSkip", outcome: "SKIP"},
		{name: "TestCasePlainSkip", outcome: "FAIL", mustRun: "1"},
		{name: "TestCaseSlow", outcome: "PASS", mustRun: "1"},
		{name: "TestCaseSlow", outcome: "SKIP", short: true},
		{name: "TestCaseSlow", outcome: "SKIP", short: true, mustRun: "1"},
		{name: "TestCaseMissing", outcome: "FAIL", short: true, mustRun: "1"},
	} {
		cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run=^"+c.name+"$")
		if c.short {
			cmd.Args = append(cmd.Args, "-test.short")
		}
		cmd.Env = append(os.Environ(), caseEnv+"=1", mustRunEnv+"="+c.mustRun)
		out, err := cmd.CombinedOutput()
		if err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Fatal(err)
		}
		if !strings.Contains(string(out), "\n--- "+c.outcome+": "+c.name+" (") {
			t.Errorf("%s with %s=%q, short %t: want %s\n%s", c.name, mustRunEnv, c.mustRun, c.short, c.outcome, out)
		}
	}
}

// caseEnv is set in the processes that TestIsolatedOutcome starts.
const caseEnv = "PORTCHECK_TEST_ISOLATED_CASE"

// inCase reports whether the calling test is to run as a case of
// TestIsolatedOutcome, in its own namespaces.
func inCase(t *testing.T) bool {
	return os.Getenv(caseEnv) != "" && Isolated(t)
}

func TestCaseSkippedSubtest(t *testing.T) {
	if inCase(t) {
		t.Run("sub", func(t *testing.T) { Missing(t, "lacks something") })
	}
}

func TestCaseMissing(t *testing.T) {
	if inCase(t) {
		Missing(t, "lacks something")
	}
}

func TestCasePlainSkip(t *testing.T) {
	if inCase(t) {
		t.Skip("by itself")
	}
}

func TestCaseSlow(t *testing.T) {
	if inCase(t) {
		Slow(t, "takes long")
	}
}
