package host

import (
	"fmt"
	"runtime/debug"
)

// relay carries a panic from one goroutine to another, which knows what to do
// about it. Run is for the first, raise for the second, after the first ended.
type relay struct{ bug string }

func (r *relay) run(fn func()) {
	defer func() {
		if v := recover(); v != nil {
			r.bug = fmt.Sprintf("%v\n%s", v, debug.Stack())
		}
	}()
	fn()
}

func (r *relay) raise() {
	if r.bug != "" {
		panic(r.bug)
	}
}
