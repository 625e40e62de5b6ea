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
