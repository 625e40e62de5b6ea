package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

func listing() check.Listing {
	sockets := []check.Holder{nginx(), postgres(), unseen(), python(), {Address: "::1", Port: 53, State: "bound", PID: 7, Process: "a\tb\nc", Condition: check.Condition{Stopped: true}}}
	for i := range sockets {
		sockets[i].Protocol = port.TCP
	}
	sockets[4].Protocol = port.UDP
	return check.Listing{Targets: targets().Targets, Sockets: sockets}
}

func TestList(t *testing.T) {
	withCommand := listing()
	withCommand.Sockets[3].Command = []string{"python3", "-m", "http.server"}
	for name, l := range map[string]check.Listing{"list": listing(), "list-command": withCommand, "list-empty": {}} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			for _, format := range []string{"text", "json"} {
				b.WriteString("-- " + format + " --\n")
				if err := List(&b, l, format, Options{}); err != nil {
					t.Fatal(err)
				}
			}
			compareGolden(t, name, b.String())
		})
	}
}

// TestListFitsTheTerminal checks that no line is wider than the terminal, the titles
// included, and that these are whole.
func TestListFitsTheTerminal(t *testing.T) {
	for width := 60; width <= 120; width += 10 {
		var b bytes.Buffer
		if err := List(&b, listing(), "text", Options{Width: width}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if columns(strings.TrimSuffix(line, "\n")) > width {
				t.Errorf("wider than %d columns: %q", width, line)
			}
		}
		if !strings.Contains(b.String(), "PROCESS") || strings.Contains(b.String(), "UNIT OR") != strings.Contains(b.String(), "CONTAINER") {
			t.Errorf("titles are cut at %d columns:\n%s", width, b.String())
		}
	}
}

func TestListInAnUnknownFormat(t *testing.T) {
	err := List(&bytes.Buffer{}, check.Listing{}, "github", Options{})
	if err == nil || !strings.Contains(err.Error(), "want one of json, text") {
		t.Errorf("%v", err)
	}
}
