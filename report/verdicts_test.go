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

// okCodes explains the statuses that no finding has.
var okCodes = []code{
	{
		string(check.Free), "PortFree", "The port is free",
		"Every endpoint of the need was bound, and nobody else is there.",
		"Nobody holds the port on any of the addresses of the need.", "Nothing.", note,
	},
	{
		string(check.Owned), "PortOwned", "The port is held by its owner",
		"Every process that holds the port matches `owner`: a redeploy, no conflict.",
		"The old version of the app still runs.", "Nothing.", note,
	},
	{
		string(check.Listening), "PortListening", "Somebody listens, as expected",
		"The need has `expect: listening`, and at least one listener, of the `owner` if that is given.",
		"The service is up.", "Nothing.", note,
	},
	{
		string(check.Reachable), "RemoteReachable", "The remote port can be reached",
		"A connect from the target to the remote port worked.",
		"The service is up and no firewall is in between.", "Nothing.", note,
	},
}

// tableOnlyText explains verdicts that were reached without a bind.
const tableOnlyText = "testdata/table-only.md"

const verdictsPage = "../docs/verdicts.md"

// TestVerdictsPage holds docs/verdicts.md to the codes; -update writes it.
func TestVerdictsPage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Verdicts\n\n" +
		"What a line of portcheck ends with in brackets: a result's `status` and a notice's `code` in JSON, a rule in SARIF.\n" +
		"A need with a status that is not ok fails the run by its severity. Notices fail nothing, but for `duplicate`; `allow: [CODE]`\n" +
		"silences them.\n\n")
	for _, s := range check.Statuses {
		if s.OK() && !slices.ContainsFunc(okCodes, func(c code) bool { return c.id == string(s) }) {
			t.Errorf("%s is not explained", s)
		}
	}
	section := func(title string, list []code) {
		fmt.Fprintf(&b, "## %s\n\n", title)
		for _, c := range list {
			fmt.Fprintf(&b, "### %s\n\n**%s.** %s\n\n- *How it comes about:* %s\n- *What to do:* %s\n\n", c.id, c.title, c.means, c.how, c.help)
		}
	}
	section("Statuses that are ok", okCodes)
	statuses := slices.IndexFunc(codes, func(c code) bool { return c.id == string(config.Duplicate) })
	section("Statuses that are not", codes[1:statuses])
	section("Notices", codes[statuses:])
	tableOnly, err := os.ReadFile(tableOnlyText)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(append(tableOnly, '\n'))
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
		t.Errorf("%s is not what the codes say (go test ./report -run VerdictsPage -update writes it)", verdictsPage)
	}
}
