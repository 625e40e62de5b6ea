package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

// TestHolderOfSeveralAddressesIsNamedOnce checks the formats that have a line for each
// holder. JSON has one for each address.
func TestHolderOfSeveralAddressesIsNamedOnce(t *testing.T) {
	second := nginx()
	second.Address = "::"
	r := reportOf(taken(check.InUse, "tcp 8080 is in use", nginx(), python(), second))
	for format, want := range map[string]string{"junit": "held by: nginx ", "tap": `"nginx (pid 812`, "markdown": "| nginx (pid 812", "html": "<p>nginx (pid 812"} {
		var b bytes.Buffer
		if err := Formats[format](&b, r, Options{}); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(b.String(), want); n != 1 {
			t.Errorf("%s names nginx %d times:\n%s", format, n, b.String())
		}
		if !strings.Contains(b.String(), "python3 (pid 4711") {
			t.Errorf("%s does not name python3", format)
		}
	}
}

// TestUsersHaveOneForm checks that a user without a name looks the same in every text.
func TestUsersHaveOneForm(t *testing.T) {
	for _, c := range []struct {
		name string
		uid  *int
		text string
		cell string
	}{
		{"ann", number(1000), "user ann", "ann"},
		{"", number(1000), "uid 1000", "1000"},
		{"", number(0), "user root", "root"},
		{`SHOP\ann`, nil, `user SHOP\ann`, `SHOP\ann`},
	} {
		h := python()
		h.User, h.UID, h.Unit, h.Protocol = c.name, c.uid, "", port.TCP
		if got, want := holderText(h), "python3 (pid 4711, "+c.text+")"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		var list, leases bytes.Buffer
		if err := List(&list, check.Listing{Sockets: []check.Holder{h}}, "text", Options{}); err != nil {
			t.Fatal(err)
		}
		all := check.Leases{Leases: []check.ListedLease{{Lease: check.Lease{ID: "a", User: c.name, UID: c.uid}}}}
		if err := leasesText(&leases, all, Options{}); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{list.String(), leases.String()} {
			if !strings.Contains(text, "  "+c.cell+"  ") {
				t.Errorf("no %q in\n%s", c.cell, text)
			}
		}
	}
}
