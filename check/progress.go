package check

import "time"

// Progress receives the progress of a run: for each target one call of Started,
// then calls of Waiting, then one of Done. Calls are never concurrent, and end when
// the run is cancelled.
type Progress interface {
	Started(target string)
	// Waiting reports that an unmet need begins to wait, for at most left, or
	// that its holder has changed.
	Waiting(r Result, left time.Duration)
	// Done reports that the results of the target are final. err is why it was
	// not opened, or why its last probe failed.
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

// emitWaiting calls Waiting for an unmet need, once for each holder.
func (r *round) emitWaiting(i int, left time.Duration, holders map[resultKey]string) {
	for _, proto := range r.needs[i].Protocols {
		key := resultKey{i, proto}
		result := r.results[key]
		if result == nil || result.Met() || holders[key] == result.Message {
			continue
		}
		holders[key] = result.Message
		r.emit(func(p Progress) { p.Waiting(*result, left) })
	}
}
