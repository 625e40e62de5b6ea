package report

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// okCodes explains the statuses that are ok, which no finding has.
var okCodes = []code{
	{
		string(check.Free), "PortFree", "The port is free",
		"The check could bind every endpoint of the need, and no process listens on one.",
		"No socket holds the port on an address of the need.", "Nothing.", note,
	},
	{
		string(check.Owned), "PortOwned", "The port is held by its owner",
		"Every process that holds the port matches `owner`. This is a redeploy, not a conflict.",
		"The old version of the app is still running.", "Nothing.", note,
	},
	{
		string(check.Listening), "PortListening", "A process listens, as expected",
		"The need has `expect: listening`, and a process listens on the port: its `owner`, if that is set.",
		"The service is running.", "Nothing.", note,
	},
	{
		string(check.Reachable), "RemoteReachable", "The remote port can be reached",
		"A connection from the target to the remote port was accepted.",
		"The service is running, and no firewall is in between. With `expect: unreachable` it is not ok, see below.", "Nothing.", note,
	},
}

// tableOnlyText explains verdicts without a bind, udpText what a bind does to others.
const (
	tableOnlyText = "testdata/table-only.md"
	udpText       = "testdata/udp.md"
	forwarderText = "testdata/forwarders.md"
)

const verdictsPage = "../docs/verdicts.md"

// TestVerdictsPage compares docs/verdicts.md with the codes; -update writes it.
func TestVerdictsPage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Verdicts\n\n" +
		"A line of portcheck ends with one of these in brackets. In JSON it is a result's `status` or a notice's `code`, in SARIF a rule.\n" +
		"A need with a status that is not ok fails the run, depending on its severity. Of the notices only `duplicate` does;\n" +
		"`allow: [CODE]` silences a notice.\n\n")
	for _, s := range check.Statuses {
		if s.OK() && !slices.ContainsFunc(okCodes, func(c code) bool { return c.id == string(s) }) {
			t.Errorf("%s is not explained", s)
		}
	}
	section := func(title string, list []code) {
		fmt.Fprintf(&b, "## %s\n\n", title)
		for _, c := range list {
			fmt.Fprintf(&b, "### %s\n\n**%s.** %s\n\n- *When it occurs:* %s\n- *What to do:* %s\n\n", c.id, c.title, c.means, c.cause, c.help)
		}
	}
	section("Statuses that are ok", okCodes)
	statuses := slices.IndexFunc(codes, func(c code) bool { return c.id == string(config.Duplicate) })
	section("Statuses that are not", codes[1:statuses])
	section("Notices", codes[statuses:])
	for _, file := range []string{tableOnlyText, udpText, forwarderText} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(text, '\n'))
	}
	section("Errors", codes[:1])
	want := strings.TrimRight(b.String(), "\n") + "\n"
	if *update {
		if err := os.WriteFile(verdictsPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(verdictsPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not up to date with the codes (go test ./report -run VerdictsPage -update writes it)", verdictsPage)
	}
}
