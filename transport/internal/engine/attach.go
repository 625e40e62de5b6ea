package engine

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// saidLimit is how much is kept of what a container writes to stderr.
const saidLimit = 4 << 10

// Stream is a container's stdin and stdout. Closing it is the end of stdin.
type Stream struct {
	conn   net.Conn
	reader *bufio.Reader
	left   int64 // bytes of the stdout frame that is being read

	mu   sync.Mutex
	said []byte // the beginning of stderr
}

// Attach connects to a container that was made with OpenStdin and without a
// terminal. The context is of the beginning alone.
func (e *Engine) Attach(ctx context.Context, id string) (*Stream, error) {
	path := "/containers/" + id + "/attach"
	op := http.MethodPost + " " + path
	conn, err := e.dial(ctx)
	if err != nil {
		return nil, e.unreached(op, err)
	}
	given := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // in the past: whoever waits gives up
	s, err := attach(conn, path, op)
	if !given() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if _, refused := err.(*Refusal); refused {
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
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, req)
	if err != nil {
		return nil, err
	}
	// Engines that do not upgrade answer 200 and go on as if they had.
	if answer.StatusCode != http.StatusSwitchingProtocols && answer.StatusCode != http.StatusOK {
		return nil, refusal(op, answer)
	}
	return &Stream{conn: conn, reader: reader}, nil
}

// Read reads the container's stdout. What comes in between from its stderr is
// kept for Said.
//
// The engine frames both in one stream: a byte for which of them, three zeros,
// four bytes of length (https://docs.docker.com/reference/api/engine/, "Attach
// to a container").
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

func (s *Stream) keep(size int64) error {
	s.mu.Lock()
	room := min(size, int64(saidLimit-len(s.said)))
	s.mu.Unlock()
	text := make([]byte, room)
	if _, err := io.ReadFull(s.reader, text); err != nil {
		return err
	}
	s.mu.Lock()
	s.said = append(s.said, text...)
	s.mu.Unlock()
	_, err := io.CopyN(io.Discard, s.reader, size-room)
	return err
}

// Said is the beginning of what the container has written to stderr.
func (s *Stream) Said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.said)
}

// Write writes to the container's stdin.
func (s *Stream) Write(p []byte) (int, error) { return s.conn.Write(p) }

// Close ends the container's stdin, and whoever reads or writes here.
func (s *Stream) Close() error { return s.conn.Close() }
