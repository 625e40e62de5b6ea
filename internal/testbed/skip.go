package testbed

import (
	"os"
	"testing"
)

// mustRunEnv is set by .ci/run: there a test that lacks something fails.
const mustRunEnv = "PORTCHECK_TEST_MUST_RUN"

// Missing skips a test because this machine lacks something. If
// PORTCHECK_TEST_MUST_RUN is set, it fails the test instead. Tests never call
// t.Skip themselves.
func Missing(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv(mustRunEnv) != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// Slow skips a test under -short. PORTCHECK_TEST_MUST_RUN does not change that:
// -short leaves tests out by choice, not because something is missing.
func Slow(t testing.TB, reason string) {
	t.Helper()
	if testing.Short() {
		t.Skip("not under -short: " + reason)
	}
}
