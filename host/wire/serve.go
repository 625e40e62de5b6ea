// Package wire probes a host.Host over a stream, with one JSON line for each
// request and each reply. Serve is the server, NewHost the client.
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

// request is a Request on the wire.
type request struct {
	// ID is repeated in the reply, so that a reply is not taken for that to
	// another request.
	ID string `json:"id,omitempty"`
	host.Request
}

// Reply answers one Request on the wire.
type Reply struct {
	Version int         `json:"version"`
	ID      string      `json:"id,omitempty"` // the request's
	Facts   *host.Facts `json:"facts,omitempty"`
	Error   string      `json:"error,omitempty"`
}

// Serve reads Requests from r, one JSON line each, probes h, and writes one Reply
// line for each, in order. At the end of r the client is gone: Serve cancels the
// probe that is under way, and returns nil.
func Serve(ctx context.Context, h host.Host, r io.Reader, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	requests := make(chan request)
	failed := make(chan error, 1)
	go func() {
		defer cancel()
		lines := json.NewDecoder(r)
		for {
			var req request
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
