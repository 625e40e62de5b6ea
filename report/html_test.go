package report

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// pageTags maps the elements of a page to the attributes that they may have.
var pageTags = map[string]string{
	"html": "lang", "head": "", "meta": "charset http-equiv content name", "title": "", "style": "", "body": "",
	"a": "class href", "header": "", "main": "id tabindex", "footer": "class", "section": "aria-labelledby", "script": "",
	"h1": "", "h2": "id", "h3": "", "p": "class id role aria-live aria-hidden", "ul": "class", "li": "", "strong": "class", "code": "class",
	"span": "class aria-hidden", "form": "id aria-label hidden", "div": "class role aria-label tabindex",
	"label": "for", "select": "id autocomplete", "option": "value", "button": "type",
	"table": "class role aria-labelledby", "thead": "role", "tbody": "role",
	"tr": "role data-target data-status data-met", "th": "role scope class", "td": "role data-label class",
	"details": "", "summary": "",
}

// readPage parses a page as a browser does. No text from outside may be in a tag:
// values of attributes consist of a few fixed words and numbers.
func readPage(t *testing.T, r check.Report, out string) {
	t.Helper()
	if strings.Count(out, pageStyle) != 1 || strings.Count(out, pageScript) != 1 {
		t.Error("html: the style or the script is missing")
	}
	out = strings.NewReplacer(pageStyle, "(style)", pageScript, "(script)").Replace(out) // parsing them takes longer than everything else
	doc, err := html.Parse(strings.NewReader(out))
	if err != nil {
		t.Fatalf("html: %v", err)
	}
	rows := map[string]int{}
	walk(doc, func(n *html.Node) {
		switch n.Type {
		case html.TextNode:
			if n.Parent.Data != "style" && n.Parent.Data != "script" {
				checkInert(t, "html's text", n.Data)
			}
		case html.CommentNode:
			t.Errorf("html: a comment: %s", n.Data)
		case html.ElementNode:
			if n.Data == "ul" && !slices.ContainsFunc(slices.Collect(n.ChildNodes()), func(c *html.Node) bool { return c.Data == "li" }) {
				t.Error("html: an empty list")
			}
			allowed, known := pageTags[n.Data]
			if !known {
				t.Errorf("html: an element <%s>", n.Data)
			}
			for _, a := range n.Attr {
				if !slices.Contains(strings.Fields(allowed), a.Key) || a.Namespace != "" {
					t.Errorf("html: <%s> has %s=%q", n.Data, a.Key, a.Val)
				}
				if a.Key == "content" {
					continue
				}
				if i := strings.IndexFunc(a.Val, func(r rune) bool {
					return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(" ,-#", r))
				}); i >= 0 || len(a.Val) > 40 {
					t.Errorf("html: <%s> has %s=%q", n.Data, a.Key, a.Val)
				}
			}
			for _, a := range n.Attr {
				if n.Data == "tr" && a.Key == "data-met" {
					rows[a.Val]++
				}
			}
		}
	})
	met, unmet, unknown := outcomes(r)
	if rows["met"] != met || rows["unmet"] != unmet+unknown {
		t.Errorf("html: %v of %d met and %d unmet", rows, met, unmet+unknown)
	}
	styles, scripts := 0, 0
	walk(doc, func(n *html.Node) {
		switch n.Data {
		case "style":
			styles++
		case "script":
			scripts++
		default:
			return
		}
		if n.FirstChild == nil || n.FirstChild.Data != "("+n.Data+")" {
			t.Errorf("html: <%s> has other content", n.Data)
		}
	})
	if styles != 1 || scripts != 1 {
		t.Errorf("html: %d styles, %d scripts", styles, scripts)
	}
	text := pageText(doc)
	for _, x := range r.Results[:min(len(r.Results), 100)] { // the rest of the crowd is like its start
		wants := []string{Safe(subject(x, namesOf(r))), endpointText(x), Safe(x.Source.String())}
		for _, f := range slices.Concat(unmetFindings(x, naming{}), noteFindings(x, naming{})) {
			wants = append(wants, sentence(f.message))
			for _, h := range f.hints {
				wants = append(wants, hintText(h))
			}
		}
		for i, h := range x.Holders {
			if i < maxHolders {
				wants = append(wants, sentence(holderText(h)), started(h), commandText(h))
			}
		}
		for _, want := range wants {
			if !strings.Contains(text, want) && !strings.Contains(text, strings.ReplaceAll(want, "`", "")) {
				t.Errorf("html: the text has no %q", want)
			}
		}
	}
	for _, x := range r.Problems {
		if want := sentence(x.Message); !strings.Contains(text, want) {
			t.Errorf("html: the text has no %q", want)
		}
	}
}

func walk(n *html.Node, visit func(*html.Node)) {
	visit(n)
	for c := range n.ChildNodes() {
		walk(c, visit)
	}
}

// pageText returns the text of a page. Commands have no backticks there.
func pageText(doc *html.Node) string {
	var b strings.Builder
	walk(doc, func(n *html.Node) {
		if n.Type == html.TextNode && n.Parent.Data != "style" && n.Parent.Data != "script" {
			b.WriteString(n.Data)
		}
	})
	return b.String()
}

// TestPolicyComesFirst checks the order, because a policy does not apply to what
// precedes it.
func TestPolicyComesFirst(t *testing.T) {
	out := inAllFormats(t, cases()["in-use"], Options{})["html"]
	policy := strings.Index(out, "Content-Security-Policy")
	if policy < 0 || policy > strings.Index(out, "<style") || policy > strings.Index(out, "<title") {
		t.Errorf("the policy is at %d", policy)
	}
	for _, want := range []string{"default-src 'none'", "form-action 'none'", "base-uri 'none'"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(out, "unsafe-") || strings.Contains(out, "http://") || strings.Contains(out, "https://") || strings.Contains(out, "style=") {
		t.Error("the page may load something, or has styles that its policy forbids")
	}
}

// A name with backticks must not look like a command.
func TestPageMarksNoNameAsACommand(t *testing.T) {
	r := results()["in-use-process"]
	if out := inAllFormats(t, reportOf(r), Options{})["html"]; !strings.Contains(out, `<code class="command">kill 4711</code>`) {
		t.Errorf("the remedy is no command:\n%s", out)
	}
	r.Holders[0].Process = "x`reboot`"
	if out := inAllFormats(t, reportOf(r), Options{})["html"]; !strings.Contains(out, `stop x&#39;reboot&#39;: <code class="command">kill 4711</code>`) {
		t.Errorf("a name is a command:\n%s", out)
	}
}

func TestPageOfARange(t *testing.T) {
	out := inAllFormats(t, ranges(), Options{})["html"]
	for _, want := range []string{
		"<h3>tcp 20000-20999 on local</h3>\n<p>918 free, 61 taken, 1 needed here, 20 excluded; taken: 20003, 20040-20099</p>",
		`<span class="u2">▄</span><span class="u0">▁</span><span class="u3">███</span>`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
}

func TestMatrix(t *testing.T) {
	here, there := results()["in-use"], results()["free"]
	there.ID, there.Target = "shop/web@app1/tcp", "app1"
	low := results()["warning"]
	low.Name, low.ID, low.Port = "low", "shop/low@app1/tcp", 80
	low.Target, low.Severity = "app1", config.SeverityWarning
	out := inAllFormats(t, reportOf(here, there, low), Options{})["html"]
	cell := func(class, symbol, status string) string {
		return fmt.Sprintf(`<td class="%s"><span aria-hidden="true">%s</span> %s</td>`, class, symbol, status)
	}
	want := `<tr><th scope="row">tcp 80</th><td>low</td><td class="soft"><span aria-hidden="true">-</span><span class="unseen">not needed</span></td>` + cell("warn", "!", "in-use") + "</tr>\n" +
		`<tr><th scope="row">tcp 8080</th><td>web</td>` + cell("bad", "✗", "in-use") + cell("good", "✓", "free") + "</tr>\n"
	if !strings.Contains(out, want) || strings.Contains(out, "<details>") {
		t.Errorf("want %s in\n%s", want, out)
	}
}

// A page has no table of ports by target that would be larger than all the rest.
func TestHTMLOfManyTargets(t *testing.T) {
	var r check.Report
	for i := range 400 {
		target := fmt.Sprintf("t%d", i)
		r.Targets = append(r.Targets, check.TargetReport{Name: target})
		r.Results = append(r.Results, check.Result{ID: fmt.Sprintf("n%d@%s/tcp", i, target), Name: fmt.Sprintf("n%d", i), Target: target, Protocol: port.TCP, Port: 80, Status: check.Free, OK: true})
	}
	var b strings.Builder
	if err := htmlPage(&b, r, Options{}); err != nil {
		t.Fatal(err)
	}
	if page := b.String(); !strings.Contains(page, "<p>400 ports on 400 targets are too many for a table") || len(page) > 500_000 || !strings.Contains(page, `<option value="399">t399 (1)</option>`) {
		t.Errorf("%d bytes", len(page))
	}
}
