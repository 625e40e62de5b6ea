package check

import (
	"sync"

	"github.com/org/portcheck/internal/panics"
)

// slots is a semaphore that bounds how many targets are worked on at the same
// time.
type slots chan struct{}

// newSlots returns slots for so many, at least one.
func newSlots(n int) slots { return make(slots, max(n, 1)) }

func (s slots) acquire() { s <- struct{}{} }
func (s slots) release() { <-s }

// lend releases an acquired slot while fn runs.
func (s slots) lend(fn func()) {
	s.release()
	defer s.acquire()
	fn()
}

// each calls do for every round, as many at a time as the rounds' plan has slots.
func each(rounds []*round, do func(*round)) {
	if len(rounds) > 0 {
		sideBySide(rounds, rounds[0].slots, do)
	}
}

// sideBySide calls do for all elements, as many at a time as there are slots. If calls
// panic, it panics with the first of them once all have returned.
func sideBySide[T any](all []T, free slots, do func(T)) {
	caught := make([]*panics.Panic, len(all))
	var running sync.WaitGroup
	for i, x := range all {
		free.acquire()
		run := func() {
			defer free.release()
			caught[i] = panics.Catch(func() { do(x) })
		}
		if i < len(all)-1 {
			running.Go(run)
		} else {
			run() // a goroutine would grow another stack
		}
	}
	running.Wait()
	for _, p := range caught {
		p.Repanic()
	}
}
