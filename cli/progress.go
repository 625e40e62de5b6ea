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

// redrawEvery is the time between two updates of the bar.
const redrawEvery = time.Second / 10

// progress shows people on stderr how far a run is. For several targets that is a
// bar on a terminal, and in a log a line for each target that is done.
type progress struct {
	*app
	targets int
	bar     bool

	mu            sync.Mutex
	running       []*runningTarget // in the order of their starts
	done, failing int
	shown         string // the bar on the terminal; empty: none

	stop    chan struct{}
	drawing sync.WaitGroup
}

// runningTarget is a target that is being checked.
type runningTarget struct {
	name    string
	started time.Time
	waiting bool
}

// startProgress shows the progress of a run on a number of targets until close.
func (a *app) startProgress(targets int) *progress {
	p := &progress{app: a, targets: targets, stop: make(chan struct{})}
	p.bar = targets > 1 && a.width(a.stderr) > 0
	if p.bar {
		p.drawing.Go(p.redraw)
	}
	return p
}

// close removes the bar from the terminal.
func (p *progress) close() {
	close(p.stop)
	p.drawing.Wait()
	p.erase()
}

// Started implements check.Progress.
func (p *progress) Started(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = append(p.running, &runningTarget{name: target, started: time.Now()})
}

// Waiting implements check.Progress.
func (p *progress) Waiting(r check.Result, left time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[p.find(r.Target)].waiting = true
	need := report.Safe(r.Name)
	if p.targets > 1 {
		need += "@" + report.Safe(r.Target)
	}
	p.erase()
	p.logf("waiting up to %s for %s: %s", left.Round(time.Second/10), need, report.Safe(r.Message))
}

// Done implements check.Progress.
func (p *progress) Done(target string, s check.Summary, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.find(target)
	took := time.Since(p.running[i].started)
	p.running = slices.Delete(p.running, i, i+1)
	p.done++
	if s.OK < s.Checked {
		p.failing++
	}
	if p.targets > 1 && !p.bar {
		outcome := report.Counts(s)
		if err != nil && s.Unknown == s.Checked {
			outcome = "can't be reached: " + report.Safe(err.Error())
		}
		p.logf("%s: %s (%.1fs)", report.Safe(target), outcome, took.Seconds())
	}
}

func (p *progress) find(target string) int {
	return slices.IndexFunc(p.running, func(t *runningTarget) bool { return t.name == target })
}

// redraw updates the bar until the run ends.
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

// draw shows the bar. It leaves the cursor in front of it, so that the next text
// starts at the beginning of a line, whatever writes it.
func (p *progress) draw(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Some terminals continue on the next line after the last column.
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

// line returns the bar in at most the given number of columns.
func (p *progress) line(now time.Time, columns int) string {
	text := fmt.Sprintf("%d/%d done", p.done, p.targets)
	if p.failing > 0 {
		text += fmt.Sprintf(", %d failing", p.failing)
	}
	if n := p.waiting(); n > 0 {
		text += fmt.Sprintf(", %d waiting", n)
	}
	text = gauge(p.done, p.targets, columns) + text
	if t := p.slowest(); t != nil {
		const shortest = 8 // columns of a name that is still of use
		before, after := ", slowest ", fmt.Sprintf(" %.0fs", now.Sub(t.started).Seconds())
		if room := columns - len(text) - len(before) - len(after); room >= shortest {
			text += before + report.Fit(report.Safe(t.name), room) + after
		}
	}
	return report.Fit(text, columns)
}

// gauge draws a part of a whole. It is smaller in a short line, and empty in a very
// short one.
func gauge(part, whole, columns int) string {
	cells := 20
	switch {
	case columns < 50:
		return ""
	case columns < 100:
		cells = 10
	}
	filled := cells * part / whole
	return "[" + strings.Repeat("=", filled) + strings.Repeat("-", cells-filled) + "] "
}

// waiting returns the number of targets that wait for their needs.
func (p *progress) waiting() int {
	n := 0
	for _, t := range p.running {
		if t.waiting {
			n++
		}
	}
	return n
}

// slowest returns the target that was started first, or nil. Targets that wait
// count only if all of them do.
func (p *progress) slowest() *runningTarget {
	if i := slices.IndexFunc(p.running, func(t *runningTarget) bool { return !t.waiting }); i >= 0 {
		return p.running[i]
	}
	if len(p.running) > 0 {
		return p.running[0]
	}
	return nil
}
