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

// once says each cause at its first result, with the names of the others.
type once struct {
	causes []cause            // by result
	names  map[cause][]string // of its results
	said   map[cause]bool
}

func newOnce(r check.Report) *once {
	s := &once{names: map[cause][]string{}, said: map[cause]bool{}}
	for _, x := range r.Results {
		c := causeOf(r, x)
		s.causes = append(s.causes, c)
		if c.reason != "" {
			s.names[c] = append(s.names[c], x.Name+"/"+string(x.Protocol))
		}
	}
	return s
}

// writeUnmet is writeUnmet for the result of a number.
func (s *once) writeUnmet(b *bytes.Buffer, number int, x check.Result, many bool, o Options) {
	c := s.causes[number]
	if s.said[c] {
		return
	}
	writeUnmet(b, x, many, o)
	if c.reason == "" {
		return
	}
	s.said[c] = true
	if also := s.names[c][1:]; len(also) > 0 {
		more := ""
		if n := len(also) - maxAlso; n > 0 {
			also, more = also[:maxAlso], fmt.Sprintf(" and %d more", n)
		}
		b.WriteString(indent + sentence(fmt.Sprintf("for the same reason not checked on %s: %s%s", c.target, strings.Join(also, ", "), more)) + "\n")
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
