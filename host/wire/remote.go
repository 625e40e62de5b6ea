package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/org/portcheck/host"
)

// ErrEnded is for a probe that has ended before its answer was whole.
var ErrEnded = errors.New("the probe ended")

// remote is the client of a Serve.
type remote struct {
	mu     sync.Mutex
	stream io.ReadWriteCloser
	lines  *bufio.Reader
	limit  int
	err    error // of every request, once the stream is closed
}

// NewHost returns a Host, which is a host.Leaser, that is probed by the Serve at the other end of stream,
// which the Host closes. An invalid reply, a reply of more than limit bytes, and
// a request that is cancelled close the stream, after which every Probe fails.
func NewHost(stream io.ReadWriteCloser, limit int) host.Host {
	return &remote{stream: stream, lines: bufio.NewReaderSize(stream, 64<<10), limit: limit}
}

// Probe implements host.Host.
func (r *remote) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	if err := req.Validate(); err != nil {
		return host.Facts{}, err
	}
	reply, err := r.converse(ctx, request{ID: rand.Text(), Request: req})
	if err != nil {
		return host.Facts{}, err
	}
	return *reply.Facts, nil
}

// Hold implements host.Leaser.
func (r *remote) Hold(ctx context.Context, req host.LeaseRequest) (host.LeaseReply, error) {
	reply, err := r.converse(ctx, request{ID: rand.Text(), Hold: &req})
	if err != nil {
		return host.LeaseReply{}, err
	}
	return *reply.Held, nil
}

// converse sends a request and returns the reply to it, which has what was asked for.
func (r *remote) converse(ctx context.Context, q request) (Reply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return Reply{}, r.err
	}
	stop := context.AfterFunc(ctx, func() { _ = r.stream.Close() }) // ends a read or write that is under way
	reply, err := r.ask(q)
	if !stop() || err != nil {
		r.err = errors.New("the connection to the probe is closed")
		_ = r.stream.Close() // the error that matters is the first
		if ctx.Err() != nil {
			return Reply{}, ctx.Err()
		}
		return Reply{}, err
	}
	if reply.Error != "" {
		return Reply{}, errors.New(reply.Error)
	}
	return reply, nil
}

func (r *remote) ask(q request) (Reply, error) {
	line, err := json.Marshal(q)
	if err != nil {
		return Reply{}, err
	}
	if len(line) >= requestLimit || countParts(line) > requestParts {
		return Reply{}, errors.New("the request is larger than a probe accepts: check fewer needs at a time")
	}
	switch _, err := r.stream.Write(append(line, '\n')); {
	case errors.Is(err, io.EOF):
		return Reply{}, fmt.Errorf("%w before the request", ErrEnded)
	case err != nil:
		return Reply{}, fmt.Errorf("send to the probe: %w", err)
	}
	text, err := readLine(r.lines, r.limit)
	switch {
	case errors.Is(err, io.EOF) && len(text) == 0:
		return Reply{}, fmt.Errorf("%w without an answer", ErrEnded)
	case errors.Is(err, io.EOF):
		return Reply{}, fmt.Errorf("%w in the middle of its answer", ErrEnded)
	case err != nil:
		return Reply{}, fmt.Errorf("the probe's answer: %w", err)
	}
	if parts := countParts(text); parts > r.limit/bytesPerPart {
		return Reply{}, fmt.Errorf("the probe's answer: %d structs and lists are too many for its size", parts)
	}
	var reply Reply
	if err := json.Unmarshal(text, &reply); err != nil {
		return Reply{}, fmt.Errorf("the probe's answer can't be parsed: %.80q", text)
	}
	switch {
	case reply.Version != Version:
		return Reply{}, fmt.Errorf("the probe uses version %d of the protocol, and this portcheck version %d: use the same release at both ends", reply.Version, Version)
	case reply.Error == "" && q.Hold == nil && reply.Facts == nil:
		return Reply{}, errors.New("the probe's answer has no facts")
	case reply.Error == "" && q.Hold != nil && reply.Held == nil:
		return Reply{}, errors.New("the probe's answer has nothing about leases")
	case reply.ID != q.ID:
		return Reply{}, errors.New("the probe's answer is to another request")
	}
	return reply, nil
}

func (r *remote) Close() error {
	// Without the lock, so that it ends a Probe that is under way.
	return r.stream.Close()
}

// bytesPerPart is less than the average size of a struct or list in a real
// answer. In memory each can take 300 bytes, though its JSON needs only two.
const bytesPerPart = 30

// countParts returns how many structs and lists a JSON text has at most.
func countParts(text []byte) int {
	return bytes.Count(text, []byte("{")) + bytes.Count(text, []byte("[")) + bytes.Count(text, []byte("null"))
}

// readLine reads a line of at most limit bytes.
func readLine(lines *bufio.Reader, limit int) ([]byte, error) {
	var text bytes.Buffer
	for {
		part, err := lines.ReadSlice('\n')
		if text.Len()+len(part) > limit {
			return nil, fmt.Errorf("it is larger than %d bytes", limit)
		}
		text.Write(part)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text.Bytes(), err
		}
	}
}
