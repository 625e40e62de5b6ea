// Package wire asks a host.Host over a stream, one JSON line for each request
// and each reply. Serve is the far end, NewHost the near one.
package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/org/portcheck/host"
)

// Version is the version of the protocol. Both ends must have the same one.
const Version = 2

// question is a Request on the wire.
type question struct {
	// ID comes back with the answer, so that none is taken for another's.
	ID string `json:"id,omitempty"`
	host.Request
}

// Reply answers one Request on the wire.
type Reply struct {
	Version int         `json:"version"`
	ID      string      `json:"id,omitempty"` // the question's
	Facts   *host.Facts `json:"facts,omitempty"`
	Error   string      `json:"error,omitempty"`
}

// Serve is a probe's far end: it reads Requests from r, one JSON line each, and
// writes one Reply line for each, in order. The end of r means that the caller
// is gone: Serve drops what it does and returns nil.
func Serve(ctx context.Context, h host.Host, r io.Reader, w io.Writer) error {
	ctx, gone := context.WithCancel(ctx)
	defer gone()
	requests := make(chan question)
	failed := make(chan error, 1)
	go func() {
		defer gone()
		lines := json.NewDecoder(r)
		for {
			var req question
			if err := lines.Decode(&req); err != nil {
				if !errors.Is(err, io.EOF) {
					failed <- fmt.Errorf("read request: %w", err)
				}
				return
			}
			select {
			case requests <- req:
			case <-ctx.Done():
				return
			}
		}
	}()
	out := json.NewEncoder(w)
	for {
		select {
		case <-ctx.Done():
			select {
			case err := <-failed:
				return err
			default:
				return nil
			}
		case req := <-requests:
			reply := Reply{Version: Version, ID: req.ID}
			facts, err := h.Probe(ctx, req.Request)
			if ctx.Err() != nil {
				continue
			}
			if err != nil {
				reply.Error = err.Error()
			} else {
				reply.Facts = &facts
			}
			if err := out.Encode(reply); err != nil {
				return fmt.Errorf("write reply: %w", err)
			}
		}
	}
}
