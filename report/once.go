package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

const maxAlso = 10 // names of needs that have a reason in common

// cause is why needs on a target could not be checked: that of the target.
type cause struct {
	target, reason string
	severity       config.Severity
}

// causeOf returns the cause of a result. Its reason is empty if the result has one
// of its own.
func causeOf(r check.Report, x check.Result) cause {
	if x.OK || x.Status != check.Unknown || slices.ContainsFunc(x.Notices, func(n check.Notice) bool { return n.Code == config.Duplicate }) {
		return cause{}
	}
	for _, t := range r.Targets {
		for _, n := range t.Notices {
			if t.Name == x.Target && n.Message != "" && strings.HasSuffix(x.Message, " could not be checked: "+n.Message) {
				return cause{t.Name, n.Message, x.Severity}
			}
		}
	}
	return cause{}
}

// once says what several results have in common at the first of them: each cause with
// the names of the others, how to end a holder, and each note.
type once struct {
	causes []cause            // by result
	names  map[cause][]string // of its results
	said   map[cause]bool
	advice map[string]finding // the first that had it, by its text
	notes  map[noteKey]*sameNote
	noted  map[noteKey]bool
}

// sameNote is a note that results have in common.
type sameNote struct {
	first finding
	also  []string        // names of the other results, at most maxAlso
	more  int             // how many others there are
	seen  map[string]bool // the names of all but the first
}

func (n *sameNote) add(f finding) {
	name := nameFor(n.first, f)
	if f.subject == n.first.subject && f.at == n.first.at || n.seen[name] { // another protocol of the need
		return
	}
	if n.seen == nil {
		n.seen = map[string]bool{}
	}
	if n.seen[name] = true; len(n.also) < maxAlso {
		n.also = append(n.also, name)
	} else {
		n.more++
	}
}

// noteKey is what makes two notes the same.
type noteKey struct {
	code, message string
	severity      config.Severity
}

func newOnce(r check.Report) *once {
	s := &once{names: map[cause][]string{}, said: map[cause]bool{}, advice: map[string]finding{}, notes: map[noteKey]*sameNote{}, noted: map[noteKey]bool{}}
	by := namesOf(r)
	for _, x := range r.Results {
		for _, f := range noteFindings(x, by) {
			k := noteKeyOf(f)
			if s.notes[k] == nil {
				s.notes[k] = &sameNote{first: f}
			} else {
				s.notes[k].add(f)
			}
		}
		c := causeOf(r, x)
		s.causes = append(s.causes, c)
		if c.reason != "" {
			s.names[c] = append(s.names[c], subject(x, naming{apps: by.apps})+"/"+string(x.Protocol))
		}
	}
	return s
}

// writeUnmet is writeUnmet for the result of a number.
func (s *once) writeUnmet(b *bytes.Buffer, number int, x check.Result, by naming, o Options) {
	c := s.causes[number]
	if s.said[c] {
		return
	}
	for _, f := range unmetFindings(x, by) {
		f.hints = s.shorten(f)
		writeFinding(b, f, o)
	}
	if !x.OK {
		writeCommands(b, x.Holders)
	}
	if c.reason == "" {
		return
	}
	s.said[c] = true
	if also := s.names[c][1:]; len(also) > 0 {
		b.WriteString(indent + sentence(fmt.Sprintf("for the same reason not checked on %s: %s", c.target, upTo(maxAlso, also))) + "\n")
	}
}

// upTo joins the first words of a list, and counts the others.
func upTo(most int, words []string) string {
	if n := len(words) - most; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), n)
	}
	return strings.Join(words, ", ")
}

// shorten returns the hints of a finding as at most two: what to do, and other ports.
// What was said to do for another result is not said again.
func (s *once) shorten(f finding) []check.Hint {
	var all []check.Hint
	var notes, todo []string
	said := true // whether everything to do was
	for _, h := range f.hints {
		text := h.Text
		switch h.Kind {
		case check.HintAlternative:
			all = append(all, h)
			continue
		case check.HintNote:
			notes = append(notes, text)
			continue
		case check.HintRemedy:
			text = s.see(f, text)
			said = said && text != h.Text
		default:
			if short := s.see(f, text); said {
				text = short
			}
		}
		if !slices.Contains(todo, text) {
			todo = append(todo, text)
		}
	}
	notes = append(notes, todo...)
	if len(notes) == 0 {
		return all
	}
	return append([]check.Hint{{Kind: check.HintRemedy, Text: strings.Join(notes, "; ")}}, all...)
}

// see returns what a finding says to do, or the name of the first one that says the same.
func (s *once) see(f finding, text string) string {
	first, known := s.advice[text]
	if !known {
		s.advice[text] = f
	}
	if see := "see " + nameFor(f, first); known && first.subject != "" && len(text) > len(see) {
		return see
	}
	return text
}

// nameFor returns how one finding calls another. A need of another file may have the name
// of one in its own.
func nameFor(f, other finding) string {
	if (f.subject == other.subject && f.at != other.at || f.at.File != other.at.File) && !other.at.IsFlag() {
		return Safe(other.at.String())
	}
	return Safe(other.subject)
}

func noteKeyOf(f finding) noteKey { return noteKey{f.code, f.message, f.severity} }

// writeNotes writes the notes of a result that no earlier result had, with the names of
// the later ones.
func (s *once) writeNotes(b *bytes.Buffer, x check.Result, by naming, o Options) {
	for _, f := range noteFindings(x, by) {
		k := noteKeyOf(f)
		if s.noted[k] {
			continue
		}
		s.noted[k] = true
		writeFinding(b, f, o)
		if same := s.notes[k]; len(same.also) > 0 {
			names := strings.Join(same.also, ", ")
			if same.more > 0 {
				names += fmt.Sprintf(" and %d more", same.more)
			}
			b.WriteString(indent + sentence("the same for "+names) + "\n")
		}
	}
}

// rest returns the targets without the notices that were said.
func (s *once) rest(targets []check.TargetReport) []check.TargetReport {
	targets = slices.Clone(targets)
	for i, t := range targets {
		targets[i].Notices = slices.DeleteFunc(slices.Clone(t.Notices), func(n check.Notice) bool {
			for c := range s.said {
				if c.target == t.Name && c.reason == n.Message {
					return true
				}
			}
			return false
		})
	}
	return targets
}
