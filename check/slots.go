package check

import (
	"sync"

	"github.com/org/portcheck/internal/panics"
)

// slots is a semaphore that bounds how many targets are worked on at the same
// time.
type slots chan struct{}

func (s slots) acquire() { s <- struct{}{} }
func (s slots) release() { <-s }

// lend releases an acquired slot while fn runs.
func (s slots) lend(fn func()) {
	s.release()
	defer s.acquire()
	fn()
}

// each calls do for every round, as many at a time as there are slots. If calls
// panic, it panics with the first of them once all have returned.
func each(rounds []*round, do func(*round)) {
	caught := make([]*panics.Panic, len(rounds))
	var all sync.WaitGroup
	for i, r := range rounds {
		r.slots.acquire()
		all.Go(func() {
			defer r.slots.release()
			caught[i] = panics.Catch(func() { do(r) })
		})
	}
	all.Wait()
	for _, p := range caught {
		p.Repanic()
	}
}
