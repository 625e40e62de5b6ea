package cli

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/report"
)

// redrawEvery is the time between two looks of the bar: ten times a second.
const redrawEvery = time.Second / 10

// progress tells people on stderr how far a run is. Of several targets it shows a
// bar at a terminal, and in a log one line for each that is done.
type progress struct {
	*app
	targets int
	bar     bool

	mu            sync.Mutex
	underWay      []*visit // in the order of their starts
	done, failing int
	shown         string // what the bar shows now; empty: there is none

	stop  chan struct{}
	drawn sync.WaitGroup
}

// visit is a target that is under way.
type visit struct {
	target  string
	started time.Time
	waiting bool
}

// watch tells of a run on so many targets until its end.
func (a *app) watch(targets int) *progress {
	p := &progress{app: a, targets: targets, stop: make(chan struct{})}
	p.bar = targets > 1 && a.width(a.stderr) > 0
	if p.bar {
		p.drawn.Go(p.redraw)
	}
	return p
}

// end leaves nothing of the bar on the terminal.
func (p *progress) end() {
	close(p.stop)
	p.drawn.Wait()
	p.erase()
}

// Started implements check.Progress.
func (p *progress) Started(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.underWay = append(p.underWay, &visit{target: target, started: time.Now()})
}

// Waiting implements check.Progress.
func (p *progress) Waiting(r check.Result, left time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.underWay[p.find(r.Target)].waiting = true
	need := report.Safe(r.Name)
	if p.targets > 1 {
		need += "@" + report.Safe(r.Target)
	}
	p.erase()
	p.say("waiting up to %s for %s: %s", left.Round(time.Second/10), need, report.Safe(r.Message))
}

// Done implements check.Progress.
func (p *progress) Done(target string, s check.Summary, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.find(target)
	took := time.Since(p.underWay[i].started)
	p.underWay = slices.Delete(p.underWay, i, i+1)
	p.done++
	if s.OK < s.Checked {
		p.failing++
	}
	if p.targets > 1 && !p.bar {
		outcome := report.Counts(s)
		if err != nil && s.Unknown == s.Checked {
			outcome = "can't be reached: " + report.Safe(err.Error())
		}
		p.say("%s: %s (%.1fs)", report.Safe(target), outcome, took.Seconds())
	}
}

func (p *progress) find(target string) int {
	return slices.IndexFunc(p.underWay, func(v *visit) bool { return v.target == target })
}

// redraw keeps the bar up to date until the run ends.
func (p *progress) redraw() {
	ticks := time.NewTicker(redrawEvery)
	defer ticks.Stop()
	for {
		select {
		case <-p.stop:
			return
		case now := <-ticks.C:
			p.draw(now)
		}
	}
}

// draw shows the bar. The cursor stays in front of it, so that whatever is
// written next, by whomever, begins a line.
func (p *progress) draw(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// A line that is full makes some terminals go to the next.
	if line := p.line(now, p.width(p.stderr)-1); line != p.shown {
		fmt.Fprint(p.stderr, "\r"+line+"\x1b[K\r")
		p.shown = line
	}
}

func (p *progress) erase() {
	if p.shown != "" {
		fmt.Fprint(p.stderr, "\r\x1b[K")
		p.shown = ""
	}
}

// line is the bar, in at most so many columns.
func (p *progress) line(now time.Time, columns int) string {
	text := fmt.Sprintf("%d/%d done", p.done, p.targets)
	if p.failing > 0 {
		text += fmt.Sprintf(", %d failing", p.failing)
	}
	if n := p.waiting(); n > 0 {
		text += fmt.Sprintf(", %d waiting", n)
	}
	text = gauge(p.done, p.targets, columns) + text
	if v := p.slowest(); v != nil {
		const shortest = 8 // columns of a name that still says something
		before, after := ", slowest ", fmt.Sprintf(" %.0fs", now.Sub(v.started).Seconds())
		if room := columns - len(text) - len(before) - len(after); room >= shortest {
			text += before + report.Fit(report.Safe(v.target), room) + after
		}
	}
	return report.Fit(text, columns)
}

// gauge draws a part of a whole, smaller or not at all where a line is short.
func gauge(part, whole, columns int) string {
	cells := 20
	switch {
	case columns < 50:
		return ""
	case columns < 100:
		cells = 10
	}
	filled := cells * part / whole
	return "[" + strings.Repeat("#", filled) + strings.Repeat("-", cells-filled) + "] "
}

// waiting is how many targets wait for their needs.
func (p *progress) waiting() int {
	n := 0
	for _, v := range p.underWay {
		if v.waiting {
			n++
		}
	}
	return n
}

// slowest is the target that is under way for longest, one that waits only if
// all do; nil if there is none.
func (p *progress) slowest() *visit {
	if i := slices.IndexFunc(p.underWay, func(v *visit) bool { return !v.waiting }); i >= 0 {
		return p.underWay[i]
	}
	if len(p.underWay) > 0 {
		return p.underWay[0]
	}
	return nil
}
