package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/org/portcheck/check"
)

const (
	summaryLimit = 1_000_000 // bytes; GitHub drops all of a step summary over 1 MiB
	foldAbove    = 10        // met needs and notices
	foldMaps     = 3         // maps of ranges
	maxHeldBy    = 3         // holders named in a cell or a line
)

// markdown writes a step summary. Unmet needs are never folded, long lists of
// others are.
func markdown(w io.Writer, r check.Report, _ Options) error {
	done, outcome := summary(r)
	p := &page{}
	p.always("## portcheck: " + cell(outcome) + "\n\n" + cellSentence(done) + "\n")

	problems := make([]string, len(r.Problems))
	for i, x := range r.Problems {
		problems[i] = listItem(problemFinding(x))
	}
	p.list("Manifest errors", problems, false)

	by := namesOf(r)
	var unmet, met, notices []string
	for _, x := range worstFirst(r.Results) {
		if x.OK {
			met = append(met, tableRow(x, by))
		} else {
			unmet = append(unmet, tableRow(x, by))
		}
		for _, f := range noteFindings(x, by) {
			notices = append(notices, listItem(f))
		}
	}
	for _, t := range r.Targets {
		for _, n := range t.Notices {
			notices = append(notices, listItem(finding{severity: note, subject: "target " + t.Name, message: n.Message, code: string(n.Code)}))
		}
	}
	p.table("Not met", unmet, false)
	p.maps(r)
	p.table("Met", met, len(met) > foldAbove)
	p.list("Notes", notices, len(notices) > foldAbove)
	_, err := io.WriteString(w, p.String())
	return err
}

// page builds Markdown of limited length.
type page struct{ strings.Builder }

// always writes short text that the page needs, beyond the limit if need be.
func (p *page) always(s string) { p.WriteString(s) }

func (p *page) table(title string, rows []string, fold bool) {
	head := "| Need | Endpoint | Verdict | Held by | Alternatives |\n| --- | --- | --- | --- | --- |\n"
	p.section(title, head, rows, "| %d more | | | | |\n", fold)
}

func (p *page) list(title string, items []string, fold bool) {
	p.section(title, "", items, "- %d more\n", fold)
}

// maps writes maps of the ranges that alternatives come from.
func (p *page) maps(r check.Report) {
	maps, left := mapSpans(r)
	if len(maps) == 0 {
		return
	}
	items := make([]string, len(maps))
	for i, m := range maps {
		items[i] = fmt.Sprintf("- %s: %s<br>`%s`\n", cellSentence(m.title()), cellSentence(m.text()), m.strip())
	}
	if left > 0 {
		items = append(items, fmt.Sprintf("- %d more\n", left))
	}
	p.section("Ranges for alternatives", legend(), items, "- %d more\n", len(items) > foldMaps)
}

func legend() string {
	parts := make([]string, len(uses))
	for i, u := range uses {
		parts[i] = "`" + u.symbol + "` " + u.means
	}
	return strings.Join(parts, " · ") + "\n\n"
}

func (p *page) section(title, head string, lines []string, more string, fold bool) {
	if len(lines) == 0 {
		return
	}
	if fold {
		p.always(fmt.Sprintf("\n<details><summary>%s (%d)</summary>\n\n", title, len(lines)))
	} else {
		p.always("\n### " + title + "\n\n")
	}
	p.always(head)
	for i, line := range lines {
		if p.Len()+len(line) > summaryLimit {
			p.always(fmt.Sprintf(more, len(lines)-i))
			break
		}
		p.WriteString(line)
	}
	if fold {
		p.always("\n</details>\n")
	}
}

func listItem(f finding) string {
	s := "- **" + string(f.severity) + "** "
	if at := f.at.String(); at != "" {
		s += cell(at) + ": "
	}
	if f.subject != "" {
		s += cell(f.subject) + ": "
	}
	s += cellSentence(f.message)
	if f.code != "" {
		s += ` \[` + cell(f.code) + `\]`
	}
	return s + "\n"
}

func tableRow(r check.Result, by naming) string {
	need := cell(subject(r, by))
	if at := r.Source.String(); at != "" {
		need += "<br>" + cell(at)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |\n", need, endpointCell(r), verdictCell(r), heldByCell(r), cellSentence(alternativePorts(r)))
}

func endpointCell(r check.Result) string {
	if r.Expect.Connects() {
		return cell(fmt.Sprintf("%s %s:%s", r.Protocol, bracketed(r.Remote), r.Ports()))
	}
	addresses := make([]string, len(r.Address))
	for i, a := range r.Address {
		addresses[i] = bracketed(string(a))
	}
	return cell(fmt.Sprintf("%s %s", r.Protocol, portsText(r))) + "<br>" + cell(strings.Join(addresses, ", "))
}

func verdictCell(r check.Result) string {
	var lines []string
	for i, f := range unmetFindings(r, naming{}) {
		line := cellSentence(f.message)
		if f.code != "" {
			line = "**" + cell(f.code) + "**: " + line
		}
		lines = append(lines, line)
		if i > 0 {
			continue
		}
		for _, hint := range f.hints {
			if hint.Kind != check.HintAlternative { // they have a column of their own
				lines = append(lines, cellHint(hint))
			}
		}
	}
	if len(lines) > 0 {
		return strings.Join(lines, "<br>")
	}
	if r.Status == "" {
		return "ok"
	}
	return cell(string(r.Status))
}

func heldByCell(r check.Result) string {
	var lines []string
	all := onceEach(r.Holders)
	for i, h := range all {
		if i == maxHeldBy {
			lines = append(lines, strconv.Itoa(len(all)-i)+" more")
			break
		}
		line := cellSentence(holderText(h))
		if len(h.Command) > 0 {
			line += ": " + cell(commandText(h))
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "<br>")
}
