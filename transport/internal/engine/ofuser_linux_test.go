package engine

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestPeerOfAnotherUser checks that nothing is sent where a user's link leads to somebody
// else.
func TestPeerOfAnotherUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for uid, same := range map[int]bool{os.Geteuid(): true, 12345: false} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := isPeer(conn, uid); (err == nil) != same {
			t.Errorf("uid %d: %v", uid, err)
		}
		conn.Close()
	}
	e, err := New(map[string]string{"DOCKER_HOST": "unix://" + path})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	e.ofUser = 12345
	received := make(chan error, 3)
	go func() {
		for range 3 { // two of the loop above
			conn, err := l.Accept()
			if err == nil {
				_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				_, err = conn.Read(make([]byte, 1))
				conn.Close()
			}
			received <- err
		}
	}()
	if _, err := e.List(t.Context(), false); err == nil {
		t.Error("an engine of another user answered")
	}
	for range 3 {
		if err := <-received; err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("received a request, or the connection is still open: %v", err)
		}
	}
}
