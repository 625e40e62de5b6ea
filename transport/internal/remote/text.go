package remote

import (
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
