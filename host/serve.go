package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ServeVersion is the version of the conversation; both ends must have the same.
const ServeVersion = 1

// question is a Request on the wire.
type question struct {
	// ID comes back with the answer, so that none is taken for another's.
	ID string `json:"id,omitempty"`
	Request
}

// Reply answers one Request on the wire.
type Reply struct {
	Version int    `json:"version"`
	ID      string `json:"id,omitempty"` // the question's
	Facts   *Facts `json:"facts,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Serve is a probe's far end: it reads Requests from r, one JSON line each, and
// writes one Reply line for each, in order. The end of r means that the caller
// is gone: Serve drops what it does and returns nil.
func Serve(ctx context.Context, h Host, r io.Reader, w io.Writer) error {
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
			reply := Reply{Version: ServeVersion, ID: req.ID}
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
