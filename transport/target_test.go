package transport

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
)

// The table of openers has exactly the kinds of config.TargetKinds, but auto.
func TestEveryKindOfTargetHasAnOpener(t *testing.T) {
	for _, k := range config.TargetKinds {
		if openers[k.Name] == nil && k.Name != "auto" {
			t.Errorf("transport.openers has no opener for the target %s", k.Syntax)
		}
	}
	for name := range openers {
		if !slices.ContainsFunc(config.TargetKinds, func(k config.TargetKind) bool { return k.Name == name }) {
			t.Errorf("transport.openers has %q, which config.TargetKinds does not have", name)
		}
	}
}

func TestCorrectedHost(t *testing.T) {
	broken := errors.New("broken")
	correct := func(_ context.Context, facts *host.Facts) error {
		facts.Machine.Namespace.Reason = "corrected"
		return nil
	}
	for name, c := range map[string]struct {
		h      correctedHost
		reason string
		err    error
	}{
		"good":               {correctedHost{scripted{}, correct}, "corrected", nil},
		"a probe that fails": {correctedHost{scripted{err: broken}, correct}, "", broken},
		"no correction":      {correctedHost{scripted{}, func(context.Context, *host.Facts) error { return broken }}, "", broken},
	} {
		facts, err := c.h.Probe(t.Context(), host.Request{})
		if err != c.err || facts.Machine.Namespace.Reason != c.reason {
			t.Errorf("%s: %v, %+v", name, err, facts.Machine.Namespace)
		}
	}
}

func TestTargetsThatAreInvalid(t *testing.T) {
	for _, text := range []string{"", "nowhere", "auto", "container:", "ssh://"} {
		if h, err := Open(t.Context(), text, Options{}); err == nil || h != nil {
			t.Errorf("%q: %v, %v", text, h, err)
		}
	}
}
