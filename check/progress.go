package check

import "time"

// Progress hears how far a run is: of each target once that it is started and
// once that it is done, in between of needs that wait. It hears of one thing at a
// time, and of nothing once the run was cancelled.
type Progress interface {
	Started(target string)
	// Waiting: an unmet need begins to wait, up to left, or its holder has
	// changed.
	Waiting(r Result, left time.Duration)
	// Done: nothing about the target's needs changes any more. An error says
	// why it was not opened, or why its last probe failed.
	Done(target string, s Summary, err error)
}

// tell lets whoever wants to know hear of something.
func (p *plan) tell(say func(Progress)) {
	if p.Progress == nil {
		return
	}
	p.told.Lock()
	defer p.told.Unlock()
	say(p.Progress)
}

// tellWaiting tells of an unmet need that waits, once for each holder.
func (r *round) tellWaiting(i int, left time.Duration, holders map[rivalKey]string) {
	for _, proto := range r.needs[i].Protocols {
		key := rivalKey{i, proto}
		result := r.results[key]
		if result.Status.OK() || holders[key] == result.Message {
			continue
		}
		holders[key] = result.Message
		r.tell(func(p Progress) { p.Waiting(*result, left) })
	}
}
