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

// emit calls a method of Progress, if there is one.
func (p *plan) emit(call func(Progress)) {
	if p.Progress == nil {
		return
	}
	p.progressMu.Lock()
	defer p.progressMu.Unlock()
	call(p.Progress)
}

// emitWaiting reports an unmet need that waits, once for each holder.
func (r *round) emitWaiting(i int, left time.Duration, holders map[resultKey]string) {
	for _, proto := range r.needs[i].Protocols {
		key := resultKey{i, proto}
		result := r.results[key]
		if result.Status.OK() || holders[key] == result.Message {
			continue
		}
		holders[key] = result.Message
		r.emit(func(p Progress) { p.Waiting(*result, left) })
	}
}
