package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/org/portcheck/ci"
)

// variables are those of the environment, as Compose files read them.
type variables struct {
	env        ci.Env
	refused    string   // why none is read, or ""
	unread     []string // the names of those that are set and were not read
	discovered []string // the Compose files that are read although nobody named them
}

// variables returns the variables of the environment. In a job for a stranger's change
// none is read: the file could put a secret into the name of a need, and reports show it.
func (a *app) variables() *variables {
	return &variables{env: a.env, refused: ci.Untrusted(a.env)}
}

func (v *variables) getenv(name string) (string, bool) {
	value, ok := v.env[name]
	if v.refused == "" {
		return value, ok
	}
	if ok && !slices.Contains(v.unread, name) {
		v.unread = append(v.unread, name)
	}
	return "", false
}

// mostUnread is the number of variables that a note lists.
const mostUnread = 10

// notes returns lines for people: which Compose files are read if nobody named one, and
// which variables were not read.
func (v *variables) notes() []string {
	var notes []string
	if len(v.discovered) > 0 {
		notes = append(notes, "reading "+safeWords(strings.Join(v.discovered, " and "))+", since no manifest is in this directory")
	}
	if len(v.unread) == 0 {
		return notes
	}
	names := strings.Join(v.unread[:min(len(v.unread), mostUnread)], ", ")
	if more := len(v.unread) - mostUnread; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return append(notes, fmt.Sprintf("warning: Compose files got no variables of the environment, since %s: %s; write them into a file .env", v.refused, safeWords(names)))
}
