package report

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	_ "embed" // of the page's style and script
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

//go:embed html.css
var pageStyle string

//go:embed html.js
var pageScript string

// htmlPage writes a page that consists of one file. Its policy forbids the
// browser to load anything else. The script only filters: without it the page
// is complete.
func htmlPage(w io.Writer, r check.Report, _ Options) error {
	p := &htmlWriter{bufio.NewWriterSize(w, pieceOf), r, namesOf(r)}
	p.head()
	p.problems()
	p.results()
	p.matrix()
	p.ranges()
	p.notes()
	p.targets()
	p.add("</main>\n<footer class=\"soft\"><p>Written by %s. This file loads nothing from elsewhere.</p></footer>\n", inHTML(cmp.Or(r.Tool, "portcheck")))
	p.add("<script>%s</script>\n</body>\n</html>\n", pageScript)
	return p.Flush()
}

// inHTML makes text from outside safe within an element, and for terminals and
// logs as well. No such text is ever written into a tag.
func inHTML(s string) string { return html.EscapeString(Safe(s)) }

// sentenceInHTML is inHTML for a message, which may quote several names.
func sentenceInHTML(s string) string { return html.EscapeString(sentence(s)) }

// htmlWriter builds a page.
type htmlWriter struct {
	*bufio.Writer
	report check.Report
	by     naming
}

// add writes elements. The format is trusted, the arguments are not: callers
// escape them.
func (p *htmlWriter) add(format string, args ...any) { fmt.Fprintf(p, format, args...) }

// hashOf returns the source of a style or a script for the policy.
func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (p *htmlWriter) head() {
	done, outcome := summary(p.report)
	p.add("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
	p.add("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src %s; script-src %s; base-uri 'none'; form-action 'none'\">\n", hashOf(pageStyle), hashOf(pageScript))
	p.add("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n")
	p.add("<title>portcheck: %s</title>\n<style>%s</style>\n</head>\n<body>\n", sentenceInHTML(outcome), pageStyle)
	p.add("<a class=\"skip\" href=\"#main\">Skip to the results</a>\n")
	class, symbol := "good", "✓"
	switch s := p.report.Summary; {
	case len(p.report.Problems) > 0 || s.Errors > 0:
		class, symbol = "bad", "✗"
	case s.Unknown > 0:
		class, symbol = "dim", "?"
	case s.Warnings > 0:
		class, symbol = "warn", "!"
	}
	p.add("<header>\n<p class=\"soft\">Port check</p>\n<h1><span class=\"%s\" aria-hidden=\"true\">%s</span> %s</h1>\n<p>%s</p>\n%s</header>\n<main id=\"main\" tabindex=\"-1\">\n",
		class, symbol, sentenceInHTML(outcome), sentenceInHTML(done), p.when())
}

// when returns the line of the header with the time of the report, and the host if
// there is one alone.
func (p *htmlWriter) when() string {
	var parts []string
	if t := p.report.Generated; !t.IsZero() {
		parts = append(parts, t.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	if targets := p.report.Targets; len(targets) == 1 && targets[0].Hostname != "" {
		parts = append(parts, "host "+inHTML(targets[0].Hostname))
	}
	if len(parts) == 0 {
		return ""
	}
	return "<p class=\"soft\">" + strings.Join(parts, ", ") + "</p>\n"
}

func (p *htmlWriter) problems() {
	if len(p.report.Problems) == 0 {
		return
	}
	p.add("<section aria-labelledby=\"problems\">\n<h2 id=\"problems\">Manifest errors</h2>\n<ul>\n")
	for _, x := range p.report.Problems {
		p.item(problemFinding(x))
	}
	p.add("</ul>\n</section>\n")
}

// item writes a finding as an item of a list.
func (p *htmlWriter) item(f finding) {
	class := "soft"
	switch f.severity {
	case config.SeverityError:
		class = "bad"
	case config.SeverityWarning:
		class = "warn"
	}
	p.add("<li><strong class=\"%s\">%s</strong> ", class, inHTML(string(f.severity)))
	if at := f.at.String(); at != "" {
		p.add("<code>%s</code> ", inHTML(at))
	}
	if f.subject != "" {
		p.add("<strong>%s</strong>: ", inHTML(f.subject))
	}
	p.add("%s", sentenceInHTML(f.message))
	if f.code != "" {
		p.add(" <span class=\"soft\">[%s]</span>", inHTML(f.code))
	}
	p.add("</li>\n")
}

func (p *htmlWriter) results() {
	rows := worstFirst(p.report.Results)
	if len(rows) == 0 {
		return
	}
	targets, statuses := distinct(rows, func(r check.Result) string { return r.Target }), distinct(rows, verdict)
	p.add("<section aria-labelledby=\"verdicts\">\n<h2 id=\"verdicts\">Verdicts</h2>\n")
	p.filters(rows, targets, statuses)
	// Elements lose these roles where the style shows rows as cards, unless they are set.
	p.add("<table class=\"results\" role=\"table\" aria-labelledby=\"verdicts\">\n<thead role=\"rowgroup\"><tr role=\"row\">")
	for i, title := range []string{"Verdict", "Need", "Endpoint", "Held by", "Problem and remedy"} {
		p.add("<th role=\"columnheader\" scope=\"col\" class=\"c%d\">%s</th>", i+1, title)
	}
	p.add("</tr></thead>\n<tbody role=\"rowgroup\">\n")
	targetIndex, statusIndex := indexes(targets), indexes(statuses)
	for _, r := range rows {
		met := "unmet"
		if r.OK {
			met = "met"
		}
		p.add("<tr role=\"row\" data-target=\"%d\" data-status=\"%d\" data-met=\"%s\">\n", targetIndex[r.Target], statusIndex[verdict(r)], met)
		p.add("<td role=\"cell\">%s</td>\n", badge(r))
		p.add("<th role=\"rowheader\" scope=\"row\"><p><strong>%s</strong></p>", inHTML(subject(r, p.by)))
		if at := r.Source.String(); at != "" {
			p.add("<p class=\"soft\"><code>%s</code></p>", inHTML(at))
		}
		p.add("</th>\n<td role=\"cell\" data-label=\"Endpoint\">%s</td>\n", html.EscapeString(endpointText(r)))
		p.cell("Held by", holdersHTML(r.Holders))
		p.cell("Problem and remedy", adviceHTML(r))
		p.add("</tr>\n")
	}
	p.add("</tbody>\n</table>\n</section>\n")
}

func (p *htmlWriter) cell(label, inner string) {
	p.add("<td role=\"cell\" data-label=\"%s\">%s</td>\n", label, inner)
}

// distinct returns a value of each result, each once, in order.
func distinct(rows []check.Result, of func(check.Result) string) []string {
	var all []string
	seen := map[string]bool{}
	for _, r := range rows {
		if v := of(r); !seen[v] {
			seen[v] = true
			all = append(all, v)
		}
	}
	return all
}

// indexes returns the index of each value.
func indexes(values []string) map[string]int {
	all := map[string]int{}
	for i, v := range values {
		all[v] = i
	}
	return all
}

// filters writes the filters, hidden: the script shows them, since they need it.
func (p *htmlWriter) filters(rows []check.Result, targets, statuses []string) {
	met, ofTarget, ofStatus := 0, map[string]int{}, map[string]int{}
	for _, r := range rows {
		if r.OK {
			met++
		}
		ofTarget[r.Target]++
		ofStatus[verdict(r)]++
	}
	p.add("<form id=\"filters\" aria-label=\"Filter the verdicts\" hidden>\n")
	if len(targets) > 1 {
		p.add("<div><label for=\"by-target\">Target</label><select id=\"by-target\" autocomplete=\"off\"><option value=\"\">All targets</option>")
		for i, t := range targets {
			p.add("<option value=\"%d\">%s (%d)</option>", i, inHTML(t), ofTarget[t])
		}
		p.add("</select></div>\n")
	}
	p.add("<div><label for=\"by-status\">Status</label><select id=\"by-status\" autocomplete=\"off\"><option value=\"\">All</option>")
	p.add("<option value=\"unmet\">Not met (%d)</option><option value=\"met\">Met (%d)</option>", len(rows)-met, met)
	for i, s := range statuses {
		p.add("<option value=\"%d\">%s (%d)</option>", i, inHTML(s), ofStatus[s])
	}
	p.add("</select></div>\n<button type=\"reset\">Show all</button>\n<p id=\"count\" role=\"status\" aria-live=\"polite\"></p>\n</form>\n")
}

// colour returns the class of a result. It adds nothing to symbol and verdict.
func colour(r check.Result) string {
	switch {
	case r.OK:
		return "good"
	case r.Status == check.Unknown:
		return "dim"
	case r.Severity == config.SeverityWarning:
		return "warn"
	default:
		return "bad"
	}
}

func badge(r check.Result) string {
	s := fmt.Sprintf("<span class=\"badge %s\"><span aria-hidden=\"true\">%s</span> %s</span>", colour(r), symbol(r), inHTML(verdict(r)))
	if !r.OK && r.Severity == config.SeverityWarning {
		s += " <span class=\"soft\">warning</span>"
	}
	return s
}

func holdersHTML(holders []check.Holder) string {
	var b strings.Builder
	all := onceEach(holders)
	for i, h := range all {
		if i == maxHolders {
			fmt.Fprintf(&b, "<p>%d more</p>", len(all)-i)
			break
		}
		fmt.Fprintf(&b, "<p>%s</p>", sentenceInHTML(holderText(h)))
		if since := started(h); since != "" {
			fmt.Fprintf(&b, "<p class=\"soft\">since %s</p>", since)
		}
		if len(h.Command) > 0 {
			fmt.Fprintf(&b, "<p><code>%s</code></p>", html.EscapeString(commandText(h)))
		}
	}
	return b.String()
}

func adviceHTML(r check.Result) string {
	var b strings.Builder
	for _, f := range unmetFindings(r, naming{}) {
		fmt.Fprintf(&b, "<p class=\"message\">%s</p>", sentenceInHTML(f.message))
		for _, hint := range f.hints {
			fmt.Fprintf(&b, "<p>%s</p>", hintHTML(hint))
		}
	}
	return b.String()
}

// hintHTML marks the commands of a hint as code.
func hintHTML(h check.Hint) string {
	return hintMarkup(h, ` class="command"`, html.EscapeString)
}

// maxMatrix bounds the cells of the table of ports by target. A table of 1,000
// targets and 100 ports is too large to be read.
const maxMatrix = 100_000

// matrix writes a table of ports by target, sorted by port.
func (p *htmlWriter) matrix() {
	type row struct {
		name, app string
		protocol  port.Protocol
		text      string
		ports     port.Range
		remote    string
	}
	targets := distinct(p.report.Results, func(r check.Result) string { return r.Target })
	var rows []row
	cells := map[row]map[string]*check.Result{} // the worst one
	for i := range p.report.Results {
		r := &p.report.Results[i]
		k := row{r.Name, appOf(*r), r.Protocol, stablePorts(*r), r.Ports(), r.Remote}
		if r.Auto {
			k.ports = port.Range{} // another one on each target
		}
		if cells[k] == nil {
			cells[k] = map[string]*check.Result{}
			rows = append(rows, k)
		}
		if worst := cells[k][r.Target]; worst == nil || weight(*r) < weight(*worst) {
			cells[k][r.Target] = r
		}
	}
	if len(rows) == 0 {
		return
	}
	if len(rows)*len(targets) > maxMatrix {
		p.add("<section aria-labelledby=\"matrix\">\n<h2 id=\"matrix\">Ports by target</h2>\n<p>%s on %s are too many for a table; the verdicts above have all of them.</p>\n</section>\n", check.Counted(len(rows), "port"), check.Counted(len(targets), "target"))
		return
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.ports.First, b.ports.First), cmp.Compare(a.protocol, b.protocol))
	})
	p.add("<section aria-labelledby=\"matrix\">\n<h2 id=\"matrix\">Ports by target</h2>\n")
	one := len(targets) == 1
	if one { // it repeats the verdicts
		p.add("<details><summary>%s on one target</summary>\n", check.Counted(len(rows), "port"))
	}
	p.add("<div class=\"scroll\" role=\"region\" aria-label=\"The table of ports by target\" tabindex=\"0\">\n<table class=\"matrix\" aria-labelledby=\"matrix\">\n<thead><tr><th scope=\"col\">Port</th><th scope=\"col\">Need</th>")
	for _, t := range targets {
		p.add("<th scope=\"col\">%s</th>", inHTML(cmp.Or(t, "any target")))
	}
	p.add("</tr></thead>\n<tbody>\n")
	for _, k := range rows {
		where := Safe(string(k.protocol)) + " " + k.text
		if k.remote != "" {
			where += " of " + Safe(bracketed(k.remote))
		}
		p.add("<tr><th scope=\"row\">%s</th><td>%s</td>", html.EscapeString(where), inHTML(k.name))
		for _, t := range targets {
			r := cells[k][t]
			if r == nil {
				p.add("<td class=\"soft\"><span aria-hidden=\"true\">-</span><span class=\"unseen\">not needed</span></td>")
				continue
			}
			p.add("<td class=\"%s\"><span aria-hidden=\"true\">%s</span> %s</td>", colour(*r), symbol(*r), inHTML(verdict(*r)))
		}
		p.add("</tr>\n")
	}
	p.add("</tbody>\n</table>\n</div>\n")
	if one {
		p.add("</details>\n")
	}
	p.add("</section>\n")
}

func (p *htmlWriter) ranges() {
	maps, left := mapSpans(p.report)
	if len(maps) == 0 {
		return
	}
	p.add("<section aria-labelledby=\"ranges\">\n<h2 id=\"ranges\">Ranges for alternatives</h2>\n<ul class=\"legend\">")
	for i, u := range uses {
		p.add("<li><code class=\"u%d\">%s</code> %s</li>", i, u.symbol, u.means)
	}
	p.add("</ul>\n")
	for _, m := range maps {
		p.add("<h3>%s</h3>\n<p>%s</p>\n<p class=\"strip\" aria-hidden=\"true\">", sentenceInHTML(m.title()), sentenceInHTML(m.text()))
		for i := 0; i < len(m.cells); {
			end := i
			for end < len(m.cells) && m.cells[end].use == m.cells[i].use {
				end++
			}
			p.add("<span class=\"u%d\">%s</span>", m.cells[i].use, strings.Repeat(uses[m.cells[i].use].symbol, end-i))
			i = end
		}
		p.add("</p>\n")
	}
	if left > 0 {
		p.add("<p>%s not shown.</p>\n", check.Counted(left, "more range"))
	}
	p.add("</section>\n")
}

func (p *htmlWriter) notes() {
	var all []finding
	for _, r := range p.report.Results {
		all = append(all, noteFindings(r, p.by)...)
	}
	if len(all) == 0 {
		return
	}
	p.add("<section aria-labelledby=\"notes\">\n<h2 id=\"notes\">Notes</h2>\n<ul>\n")
	for _, f := range all {
		p.item(f)
	}
	p.add("</ul>\n</section>\n")
}

func (p *htmlWriter) targets() {
	if len(p.report.Targets) == 0 {
		return
	}
	p.add("<section aria-labelledby=\"targets\">\n<h2 id=\"targets\">Targets</h2>\n<ul>\n")
	for _, t := range p.report.Targets {
		p.add("<li><strong>%s</strong>", inHTML(t.Name))
		if t.Hostname != "" {
			p.add("; host %s", inHTML(t.Hostname))
		}
		for _, fact := range []string{t.OS, namespaceText(p.report, t), t.Ephemeral} {
			if fact == "" {
				continue
			}
			if fact == t.Ephemeral {
				fact = "ephemeral ports " + fact
			}
			p.add("; %s", sentenceInHTML(fact))
		}
		if len(t.Notices) > 0 {
			p.add("\n<ul>\n")
			for _, n := range t.Notices {
				p.item(finding{severity: noticeSeverity(n), message: n.Message, code: string(n.Code)})
			}
			p.add("</ul>\n")
		}
		p.add("</li>\n")
	}
	p.add("</ul>\n</section>\n")
}
