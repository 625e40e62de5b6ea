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

// remote is the near end of a conversation with Serve.
type remote struct {
	mu     sync.Mutex
	stream io.ReadWriteCloser
	lines  *bufio.Reader
	limit  int
	err    error // the conversation is over
}

// NewHost asks the Serve at the other end of a stream, which it owns. A reply
// of more than limit bytes, or one that is none, ends the conversation; so does
// a request that is given up.
func NewHost(stream io.ReadWriteCloser, limit int) host.Host {
	return &remote{stream: stream, lines: bufio.NewReaderSize(stream, 64<<10), limit: limit}
}

func (r *remote) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return host.Facts{}, r.err
	}
	given := context.AfterFunc(ctx, func() { _ = r.stream.Close() }) // whoever reads or writes learns of it
	reply, err := r.ask(req)
	if !given() || err != nil {
		r.err = errors.New("the conversation with the probe has ended")
		_ = r.stream.Close() // the error that matters is the first
		if ctx.Err() != nil {
			return host.Facts{}, ctx.Err()
		}
		return host.Facts{}, err
	}
	if reply.Error != "" {
		return host.Facts{}, errors.New(reply.Error)
	}
	return *reply.Facts, nil
}

func (r *remote) ask(req host.Request) (Reply, error) {
	q := question{rand.Text(), req}
	line, err := json.Marshal(q)
	if err != nil {
		return Reply{}, err
	}
	switch _, err := r.stream.Write(append(line, '\n')); {
	case errors.Is(err, io.EOF):
		return Reply{}, errors.New("the probe ended before it was asked")
	case err != nil:
		return Reply{}, fmt.Errorf("the probe does not take requests: %w", err)
	}
	text, err := readLine(r.lines, r.limit)
	switch {
	case errors.Is(err, io.EOF) && len(text) == 0:
		return Reply{}, errors.New("the probe ended without an answer")
	case errors.Is(err, io.EOF):
		return Reply{}, errors.New("the probe ended in the middle of its answer")
	case err != nil:
		return Reply{}, fmt.Errorf("the probe's answer: %w", err)
	}
	if parts := countParts(text); parts > r.limit/bytesPerPart {
		return Reply{}, fmt.Errorf("the probe's answer: it has %d parts, which is more than its size can need", parts)
	}
	var reply Reply
	if err := json.Unmarshal(text, &reply); err != nil {
		return Reply{}, fmt.Errorf("the probe's answer is none: %.80q", text)
	}
	switch {
	case reply.Version != Version:
		return Reply{}, fmt.Errorf("the probe speaks version %d of the conversation, and this portcheck version %d: use the same release at both ends", reply.Version, Version)
	case reply.Error == "" && reply.Facts == nil:
		return Reply{}, errors.New("the probe's answer has no facts")
	case reply.ID != q.ID:
		return Reply{}, errors.New("the probe's answer is to another question than this one")
	}
	return reply, nil
}

func (r *remote) Close() error {
	// Not under the lock: it ends a Probe that is under way.
	return r.stream.Close()
}

// bytesPerPart is less than a part of an honest answer takes on average. A part
// can become 300 bytes in memory, though two are enough to write it.
const bytesPerPart = 30

// countParts is how many structs and lists a text of JSON can become.
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
