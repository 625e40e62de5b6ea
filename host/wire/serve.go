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
const Version = 4

// request is a Request on the wire.
type request struct {
	// ID is repeated in the reply, so that a reply is not taken for that to
	// another request.
	ID string `json:"id,omitempty"`
	host.Request
	// Hold is set instead of the rest if the request is about leases.
	Hold *host.LeaseRequest `json:"hold,omitempty"`
}

// Reply answers one Request on the wire.
type Reply struct {
	Version int              `json:"version"`
	ID      string           `json:"id,omitempty"` // the request's
	Facts   *host.Facts      `json:"facts,omitempty"`
	Held    *host.LeaseReply `json:"held,omitempty"` // to a Hold
	Error   string           `json:"error,omitempty"`
}

// The limits of a request. The largest that a run makes has some 10 MB: it asks
// about 32,768 needs, or has a range of 262,144 ports.
const (
	requestLimit = 16 << 20 // bytes
	requestParts = 1 << 19  // structs and lists
)

// decode reads one request.
func decode(lines *json.Decoder) (req request, err error) {
	var text json.RawMessage
	if err := lines.Decode(&text); err != nil {
		return req, err
	}
	if countParts(text) > requestParts {
		return req, fmt.Errorf("it has more than %d structs and lists", requestParts)
	}
	return req, json.Unmarshal(text, &req)
}

// limitedReader fails after left bytes.
type limitedReader struct {
	reader io.Reader
	left   int
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("it is larger than %d bytes", requestLimit)
	}
	n, err := l.reader.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// Serve reads Requests from r, one JSON line each, probes h, and writes one Reply
// line for each, in order. At the end of r the client is gone: Serve cancels the
// probe that is under way, ends the leases that the client has not confirmed, and
// returns nil.
func Serve(ctx context.Context, h host.Host, r io.Reader, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	requests := make(chan request)
	failed := make(chan error, 1)
	go func() {
		defer cancel()
		limited := &limitedReader{reader: r}
		lines := json.NewDecoder(limited)
		for {
			limited.left = requestLimit
			req, err := decode(lines)
			if err != nil {
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
	l := &leases{host: h}
	defer l.end(context.WithoutCancel(ctx))
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
			var err error
			if req.Hold != nil {
				var held host.LeaseReply
				held, err = l.hold(ctx, *req.Hold)
				reply.Held = &held
			} else {
				var facts host.Facts
				facts, err = h.Probe(ctx, req.Request)
				reply.Facts = &facts
			}
			if ctx.Err() != nil {
				continue
			}
			if err != nil {
				reply.Facts, reply.Held, reply.Error = nil, nil, err.Error()
			}
			if err := out.Encode(reply); err != nil {
				return fmt.Errorf("write reply: %w", err)
			}
		}
	}
}
