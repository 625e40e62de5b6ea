package host

import (
	"fmt"
	"runtime/debug"
)

// Bug is a panic of another goroutine, raised again where somebody knows what
// to do about it, with the stack of where it happened.
type Bug struct {
	Value any
	Stack []byte
}

// String is what the panic said.
func (b Bug) String() string { return fmt.Sprint(b.Value) }

// Guard runs fn and returns its panic, or nil. A bug from yet another goroutine
// stays as it is.
func Guard(fn func()) (bug *Bug) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case Bug:
			bug = &v
		default:
			bug = &Bug{v, debug.Stack()}
		}
	}()
	fn()
	return nil
}

// Raise panics with what Guard returned, unless that is nil.
func (b *Bug) Raise() {
	if b != nil {
		panic(*b)
	}
}
