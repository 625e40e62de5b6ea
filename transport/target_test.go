package transport

import (
	"slices"
	"testing"

	"github.com/org/portcheck/config"
)

// The table of openers has exactly the kinds of config.TargetKinds.
func TestEveryKindOfTargetHasAnOpener(t *testing.T) {
	for _, k := range config.TargetKinds {
		if openers[k.Name] == nil {
			t.Errorf("transport.openers has no opener for the target %s", k.Syntax)
		}
	}
	for name := range openers {
		if !slices.ContainsFunc(config.TargetKinds, func(k config.TargetKind) bool { return k.Name == name }) {
			t.Errorf("transport.openers has %q, which config.TargetKinds does not have", name)
		}
	}
}
