package check

import (
	"sync"

	"github.com/org/portcheck/internal/panics"
)

// slots bounds how many targets are dealt with at the same time: it holds one
// entry for each. Who waits for a slot gets it in turn.
type slots chan struct{}

func (s slots) take()     { s <- struct{}{} }
func (s slots) giveBack() { <-s }

// lend gives a slot that was taken to others while fn runs.
func (s slots) lend(fn func()) {
	s.giveBack()
	defer s.take()
	fn()
}

// each does something for every round, as many at a time as there are slots. It
// panics with the first bug when all have ended.
func each(rounds []*round, do func(*round)) {
	caught := make([]*panics.Panic, len(rounds))
	var all sync.WaitGroup
	for i, r := range rounds {
		r.slots.take()
		all.Go(func() {
			defer r.slots.giveBack()
			caught[i] = panics.Catch(func() { do(r) })
		})
	}
	all.Wait()
	for _, p := range caught {
		p.Repanic()
	}
}
