package sshlink

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/org/portcheck/transport/internal/remote"
)

// Limits of the sizes of files, in bytes. A link may lead to a device without
// end.
const (
	smallFileLimit  = 1 << 20 // keys and settings
	knownHostsLimit = 16 << 20
)

// readFile is os.ReadFile for a file of at most limit bytes.
func readFile(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("is larger than %d MiB", limit>>20)
	}
	return text, err
}

// shared holds values that are computed once, when they are first needed. Each is
// computed in a goroutine of its own, which a caller abandons when its context
// ends: nothing can interrupt the opening of a pipe that nobody writes to.
type shared[T any] struct {
	mu     sync.Mutex
	values map[string]*pending[T]
}

// pending is a value that is ready when done is closed.
type pending[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// get returns the value for a key. What is read for it, which is named by what, is
// needed for a step of the connection.
func (s *shared[T]) get(ctx context.Context, key, step, what string, compute func() (T, error)) (T, error) {
	s.mu.Lock()
	p := s.values[key]
	if p == nil {
		p = &pending[T]{done: make(chan struct{})}
		if s.values == nil {
			s.values = map[string]*pending[T]{}
		}
		s.values[key] = p
		go func() {
			defer close(p.done)
			p.value, p.err = compute()
		}()
	}
	s.mu.Unlock()
	select {
	case <-p.done:
		return p.value, p.err
	case <-ctx.Done():
		var none T
		return none, remote.At(step, remote.UnreadError{What: what, Cause: ctx.Err()})
	}
}
