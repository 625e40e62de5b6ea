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

// Beside calls do in another goroutine and returns where its panic arrives, nil for none.
// It is for callers that have something else to do meanwhile: the scheduler leaves the
// newest goroutine to the thread that has made it for some 60 us, even if others are idle,
// so an empty one takes that place.
//
// Source: runqgrab of Go's runtime/proc.go.
func Beside(do func()) <-chan *Panic {
	done := make(chan *Panic, 1) // nobody may wait for it
	go func() { done <- Catch(do) }()
	go func() {}()
	return done
}
