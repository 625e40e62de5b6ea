package remote

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"
)

const (
	shortLimit  = 200     // bytes of text from a library or the other side in a message
	stderrLimit = 4 << 10 // bytes of stderr that are kept
)

// Shorten returns text as one line of at most 200 bytes, plus "..." if it was
// longer.
func Shorten(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= shortLimit {
		return text
	}
	end := shortLimit
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "..."
}

// RefusedHint follows the error of a refused connection.
const RefusedHint = "; look whether sshd runs on that host, and whether it listens on this port"

// NotSSH returns what is wrong with a host that has sent a line which no SSH server sends
// alone.
func NotSSH(line string) string {
	return fmt.Sprintf("what listens there does not speak SSH: it has sent %.60q; name the port of the host's SSH server", line)
}

// CompareKey returns the advice how to verify that a key is the host's. The text of key
// begins with its type.
func CompareKey(key string) string {
	kind := "ed25519"
	switch {
	case strings.HasPrefix(key, "ecdsa-"):
		kind = "ecdsa"
	case strings.HasPrefix(key, "ssh-rsa"):
		kind = "rsa"
	}
	return "compare it with the output of `ssh-keygen -lf /etc/ssh/ssh_host_" + kind + "_key.pub` on the host"
}

// Head keeps the first 4 KiB that are written to it.
type Head struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *Head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text.Write(p[:min(len(p), stderrLimit-h.text.Len())])
	return len(p), nil
}

func (h *Head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}
