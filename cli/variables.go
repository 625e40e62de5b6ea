package cli

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/config"
)

// variables are those of the environment, as Compose files read them.
type variables struct {
	env        ci.Env
	refused    string   // why none is read, or ""
	unread     []string // the names of those that are set and were not read
	discovered []string // the Compose files that are read although nobody named them
	unfixed    []config.Position
	skipped    []string          // the names of the needs that --only and --skip leave out
	leftOut    []config.Manifest // with these needs
	claimed    []check.Need      // these needs on their targets
	inputs     []input           // the files that were read
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

func (v *variables) addUnfixed(at config.Position) {
	if !slices.Contains(v.unfixed, at) {
		v.unfixed = append(v.unfixed, at)
	}
}

func (v *variables) addOpened(name string, info fs.FileInfo) {
	v.inputs = append(v.inputs, input{name, info})
}

// mostListed is the number of variables, and of places, that a note lists.
const mostListed = 10

// listed joins words, and counts those that are too many.
func listed(words []string) string {
	text := strings.Join(words[:min(len(words), mostListed)], ", ")
	if more := len(words) - mostListed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return safeWords(text)
}

// notes returns lines for people: which Compose files are read if nobody named one, and
// which variables were not read, or have no value.
func (v *variables) notes() []string {
	var notes []string
	if len(v.skipped) > 0 {
		notes = append(notes, fmt.Sprintf("left out by --only or --skip: %s", listed(v.skipped)))
	}
	if len(v.discovered) > 0 {
		notes = append(notes, "reading "+safeWords(strings.Join(v.discovered, " and "))+", since no manifest is in this directory")
	}
	if len(v.unfixed) > 0 {
		var places []string
		for _, at := range v.unfixed {
			places = append(places, at.String())
		}
		notes = append(notes, "warning: a variable has no value, so that no fixed port is published at "+listed(places))
	}
	if len(v.unread) > 0 {
		notes = append(notes, fmt.Sprintf("warning: Compose files got no variables of the environment, since %s: %s; write them into a file .env", v.refused, listed(v.unread)))
	}
	return notes
}
