package panics

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// repanicked returns the value of the panic that p.Repanic makes, or nil.
func repanicked(p *Panic) (value any) {
	defer func() { value = recover() }()
	p.Repanic()
	return nil
}

func failInHere() { panic(errors.New("broken")) }

func TestNoPanic(t *testing.T) {
	ran := false
	p := Catch(func() { ran = true })
	if !ran || p != nil {
		t.Errorf("ran: %t, caught %v", ran, p)
	}
	if v := repanicked(p); v != nil {
		t.Errorf("Repanic of nil panics with %v", v)
	}
}

// A panic in another goroutine keeps its value and the stack of that goroutine.
func TestPanicInGoroutine(t *testing.T) {
	caught := make(chan *Panic)
	go func() { caught <- Catch(failInHere) }()
	p := <-caught
	if p == nil {
		t.Fatal("nothing caught")
	}
	got, ok := repanicked(p).(Panic)
	if !ok {
		t.Fatalf("Repanic panics with %T, want a Panic", repanicked(p))
	}
	if err, ok := got.Value.(error); !ok || err.Error() != "broken" {
		t.Errorf("value %v", got.Value)
	}
	if !strings.Contains(string(got.Stack), "failInHere") {
		t.Errorf("the stack is not that of the panic:\n%s", got.Stack)
	}
	if got := fmt.Sprint(got); got != "broken" {
		t.Errorf("printed as %q", got)
	}
}

// What runs beside the caller does so at once, and its panic arrives there.
func TestBeside(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	p := Beside(func() {
		close(begun)
		<-end
		failInHere()
	})
	<-begun
	close(end)
	if got := <-p; got == nil || !strings.Contains(string(got.Stack), "failInHere") {
		t.Errorf("caught %+v", got)
	}
	if got := <-Beside(func() {}); got != nil {
		t.Errorf("caught %+v where there is no panic", got)
	}
}

// A panic that is carried through several goroutines is the first one.
func TestNestedPanic(t *testing.T) {
	inner := Catch(failInHere)
	caught := make(chan *Panic)
	go func() { caught <- Catch(inner.Repanic) }()
	outer := <-caught
	if outer == nil || outer.Value != inner.Value || string(outer.Stack) != string(inner.Stack) {
		t.Errorf("%+v became %+v", inner, outer)
	}
}

func TestPanicWithNil(t *testing.T) {
	if p := Catch(func() { panic(nil) }); p == nil || !strings.Contains(p.String(), "nil") {
		t.Errorf("caught %v", p)
	}
}
