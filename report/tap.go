package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// tap writes the Test Anything Protocol, a test for each manifest error and
// each result. It declares version 13, since prove of Debian 12 (Test::Harness
// 3.44) refuses later ones. The output means the same in version 14.
// https://testanything.org/tap-version-14-specification.html
func tap(w io.Writer, r check.Report, _ Options) error {
	var b bytes.Buffer
	b.WriteString("TAP version 13\n")
	fmt.Fprintf(&b, "1..%d", len(r.Problems)+len(r.Results))
	if len(r.Problems)+len(r.Results) == 0 {
		b.WriteString(" # SKIP no needs")
	}
	b.WriteByte('\n')
	number := 0
	point := func(ok bool, description, directive string) {
		number++
		if !ok {
			b.WriteString("not ")
		}
		fmt.Fprintf(&b, "ok %d - %s%s\n", number, tapEscaper.Replace(description), directive)
	}
	for _, p := range r.Problems {
		description := "manifest"
		if at := p.Position.String(); at != "" {
			description = whole(at)
		}
		point(false, description, "")
		if err := writeDiagnostics(&b, check.Result{}, []finding{problemFinding(p)}); err != nil {
			return err
		}
	}
	by := namesOf(r)
	for _, x := range r.Results {
		directive := ""
		if !x.OK && x.Severity == config.SeverityWarning {
			// A harness does not fail for a TODO, but lists it.
			directive = " # TODO severity warning"
		}
		point(x.OK, fmt.Sprintf("%s %s/%s", Safe(subject(x, by)), Safe(string(x.Protocol)), portsText(x)), directive)
		if unmet := unmetFindings(x, by); len(unmet) > 0 {
			if err := writeDiagnostics(&b, x, unmet); err != nil {
				return err
			}
		}
		for _, f := range noteFindings(x, by) {
			fmt.Fprintf(&b, "# note: %s\n", whole(f.lines()[0]+" ["+Safe(f.code)+"]"))
		}
	}
	for _, t := range r.Targets {
		for _, n := range t.Notices {
			word := note
			if n.Severity == config.SeverityWarning {
				word = n.Severity
			}
			fmt.Fprintf(&b, "# %s: target %s: %s [%s]\n", word, Safe(t.Name), sentence(n.Message), Safe(string(n.Code)))
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// tapEscaper escapes descriptions, where # would start a directive.
var tapEscaper = strings.NewReplacer(`\`, `\\`, "#", `\#`)

// writeDiagnostics writes a YAML block. Each value is JSON on one line, which is
// YAML as well and which no text can break. Perl's YAMLish fails for "a: b" as a
// line of a list.
func writeDiagnostics(b *bytes.Buffer, r check.Result, unmet []finding) error {
	f := unmet[0]
	var also []string
	for _, more := range unmet[1:] {
		also = append(also, sentence(more.message))
	}
	var hints []string
	for _, h := range f.hints {
		hints = append(hints, hintText(h))
	}
	b.WriteString("  ---\n")
	for _, d := range []struct {
		key   string
		value any
		known bool
	}{
		{"message", sentence(f.message), true},
		{"severity", Safe(string(f.severity)), true},
		{"code", Safe(f.code), true},
		{"id", escape(f.id, unlimited), f.id != ""},
		{"file", escape(f.at.File, unlimited), f.at.File != ""},
		{"line", f.at.Line, f.at.Line > 0},
		{"column", f.at.Column, f.at.Line > 0},
		{"also", also, len(also) > 0},
		{"holders", holderLines(r.Holders), len(r.Holders) > 0},
		{"hints", hints, len(hints) > 0},
		{"alternatives", r.Alternatives, len(r.Alternatives) > 0},
	} {
		if !d.known {
			continue
		}
		text, err := InlineJSON(d.value)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "  %s: %s\n", d.key, text)
	}
	b.WriteString("  ...\n")
	return nil
}
