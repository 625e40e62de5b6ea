package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

func listing() check.Listing {
	sockets := []check.Holder{nginx(), postgres(), unseen(), python(), {Address: "::1", Port: 53, State: "bound", PID: 7, Process: "a\tb\nc"}}
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

func TestListInAnUnknownFormat(t *testing.T) {
	err := List(&bytes.Buffer{}, check.Listing{}, "github", Options{})
	if err == nil || !strings.Contains(err.Error(), "want one of json, text") {
		t.Errorf("%v", err)
	}
}
