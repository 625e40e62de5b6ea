package report

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

// documented returns the report that docs/reports.md shows.
func documented() check.Report {
	web, admin := results()["in-use"], results()["free"]
	admin.ID, admin.Name, admin.Source.Line, admin.Port = "shop/admin@local/tcp", "admin", 8, 8081
	r := reportOf(web, admin)
	r.Targets[0].Namespace.Reason = "it is the kernel's initial network namespace"
	whole := web.From
	r.Spans = []check.Span{{
		Target: "local", Protocol: port.TCP, Address: web.Address, Ports: whole,
		Open: whole.Without(func(p uint16) bool { return p == 20099 || 20400 <= p && p < 20460 }),
	}}
	return r
}

func TestDocsShowRealOutput(t *testing.T) {
	const file, marker = "../docs/reports.md", "<!-- output: "
	outputs := inAllFormats(t, documented(), Options{Root: "/repo"})
	outputs["terminal"] = onTerminalOf(t, documented(), Options{Width: 100})
	for line := range strings.Lines(outputs["markdown"]) {
		if strings.Contains(line, "<br>`") || strings.HasPrefix(line, "`▁`") {
			outputs["strip"] += strings.TrimSuffix(strings.ReplaceAll(strings.ReplaceAll(strings.TrimPrefix(line, "- "), "<br>", "\n"), "`", ""), "\n") + "\n"
		}
	}
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(page), marker)
	text := parts[0]
	for _, part := range parts[1:] {
		name, rest, _ := strings.Cut(part, " -->\n```text\n")
		_, after, closed := strings.Cut(rest, "```")
		if outputs[name] == "" || !closed {
			t.Fatalf("%q has no output or no end", name)
		}
		text += marker + name + " -->\n```text\n" + outputs[name] + "```" + after
	}
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(string(page), text); diff != "" {
		t.Errorf("%s is stale (-update writes it):\n%s", file, diff)
	}
	for _, name := range Names() {
		if !strings.Contains(string(page), "| `"+name+"` | ") {
			t.Errorf("%s does not list %s", file, name)
		}
	}
}
