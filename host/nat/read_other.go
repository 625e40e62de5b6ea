//go:build !linux

package nat

import (
	"context"
	"errors"
	"runtime"
)

// Read returns an *Unreadable: on this system the rules are not read.
func Read(context.Context, []Question) ([]Answer, error) {
	return nil, &Unreadable{Op: "read", Err: errors.New("not known how on " + runtime.GOOS), Possible: true}
}

// Reading is a Read that has begun.
type Reading struct{}

// Begin returns a Reading that has read nothing.
func Begin(context.Context) *Reading { return &Reading{} }

// Answer returns what Read returns.
func (*Reading) Answer(ctx context.Context, questions []Question) ([]Answer, error) {
	return Read(ctx, questions)
}

// Close does nothing.
func (*Reading) Close() {}

// Rules are the rules of a network namespace, which are not read on this system.
type Rules struct{}

// Keep returns Rules for which Answer returns an *Unreadable.
func Keep(context.Context) *Rules { return &Rules{} }

// Answer returns what Read returns.
func (*Rules) Answer(ctx context.Context, questions []Question) ([]Answer, error) {
	return Read(ctx, questions)
}
