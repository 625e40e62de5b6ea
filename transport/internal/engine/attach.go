package engine

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"time"
)

// stderrLimit is the number of bytes of a container's stderr that are kept.
const stderrLimit = 4 << 10

// Stream is a connection to a container's stdin, stdout and stderr.
type Stream struct {
	conn   net.Conn
	reader *bufio.Reader
	left   int64 // unread bytes of the current stdout frame

	mu     sync.Mutex
	stderr []byte // its beginning
}

// Attach connects to a container that was created with OpenStdin and without a
// terminal. The context limits the attaching alone, not the stream.
func (e *Engine) Attach(ctx context.Context, id string) (*Stream, error) {
	path := "/containers/" + id + "/attach"
	op := http.MethodPost + " " + path
	conn, err := e.dial(ctx)
	if err != nil {
		return nil, e.unreached(op, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // in the past, so that reads and writes fail
	s, err := attach(conn, path, op)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if errors.As(err, new(*Refusal)) {
			return nil, err
		}
		return nil, e.unreached(op, err)
	}
	return s, nil
}

func attach(conn net.Conn, path, op string) (*Stream, error) {
	req, err := http.NewRequest(http.MethodPost, "http://engine"+path+"?stream=1&stdin=1&stdout=1&stderr=1", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: conn, N: headerLimit}
	reader := bufio.NewReader(limited)
	response, err := http.ReadResponse(reader, req)
	switch {
	case err != nil && limited.N == 0:
		return nil, fmt.Errorf("the header of its answer is larger than %d kB", headerLimit>>10)
	case err != nil:
		return nil, err
	}
	limited.N = math.MaxInt64 // each reader of the rest has its own limit
	// Engines that do not upgrade the connection answer 200 and stream all the same.
	if response.StatusCode != http.StatusSwitchingProtocols && response.StatusCode != http.StatusOK {
		return nil, refusal(op, response)
	}
	return &Stream{conn: conn, reader: reader}, nil
}

// Read reads the container's stdout. It keeps what arrives from stderr in
// between for Stderr.
//
// The engine multiplexes both in frames: one byte for the stream, three zeros,
// four bytes for the length (https://docs.docker.com/reference/api/engine/,
// "Attach to a container").
func (s *Stream) Read(p []byte) (int, error) {
	for s.left == 0 {
		var header [8]byte
		if _, err := io.ReadFull(s.reader, header[:]); err != nil {
			return 0, err
		}
		size := int64(binary.BigEndian.Uint32(header[4:]))
		switch header[0] {
		case 1:
			s.left = size
		case 2:
			if err := s.keep(size); err != nil {
				return 0, err
			}
		default:
			return 0, fmt.Errorf("unexpected frame %x of the engine's stream", header)
		}
	}
	n, err := s.reader.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	return n, err
}

// keep reads a frame of stderr.
func (s *Stream) keep(size int64) error {
	s.mu.Lock()
	room := min(size, int64(stderrLimit-len(s.stderr)))
	s.mu.Unlock()
	text := make([]byte, room)
	if _, err := io.ReadFull(s.reader, text); err != nil {
		return err
	}
	s.mu.Lock()
	s.stderr = append(s.stderr, text...)
	s.mu.Unlock()
	_, err := io.CopyN(io.Discard, s.reader, size-room)
	return err
}

// Stderr returns the beginning of what the container has written to stderr, at
// most 4 KiB.
func (s *Stream) Stderr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.stderr)
}

// Write writes to the container's stdin.
func (s *Stream) Write(p []byte) (int, error) { return s.conn.Write(p) }

// Close closes the container's stdin and ends pending reads and writes.
func (s *Stream) Close() error { return s.conn.Close() }
