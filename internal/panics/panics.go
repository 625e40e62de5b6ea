// Package panics carries a panic from the goroutine in which it happened to the
// one that can report it.
package panics

import (
	"fmt"
	"runtime/debug"
)

// Panic is the value and the stack of a panic in another goroutine.
type Panic struct {
	Value any
	Stack []byte
}

// String returns the text of the panic's value.
func (p Panic) String() string { return fmt.Sprint(p.Value) }

// Catch runs fn and returns its panic, or nil if fn returned. A Panic that fn
// itself carries from a third goroutine keeps that goroutine's stack.
func Catch(fn func()) (caught *Panic) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case Panic:
			caught = &v
		default:
			caught = &Panic{v, debug.Stack()}
		}
	}()
	fn()
	return nil
}

// Repanic panics with what Catch returned. It does nothing if that is nil.
func (p *Panic) Repanic() {
	if p != nil {
		panic(*p)
	}
}
