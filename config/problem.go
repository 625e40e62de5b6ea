package config

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/org/portcheck/internal/within"
)

// problem is a Problem with its kind and what fills in the message.
type problem struct {
	Problem
	kind kind
	args []any
	// locate, if not nil, searches for the exact position. The one of the problem
	// is near it.
	locate func() Position
}

// newProblem returns a problem with a formatted message. Whatever the arguments
// contain, the message is one printable line without "##" and "@@", which start
// commands of CI systems even in the middle of a line.
func newProblem(at Position, k kind, args ...any) problem {
	return problem{Problem: Problem{at, oneLine(fmt.Sprintf(string(k), args...))}, kind: k, args: args}
}

// withoutValues returns the problem without anything that the file contains, for a
// file to which a link may lead out of a directory. Only numbers that are positions
// and limits stay.
func (p problem) withoutValues(left within.Dir) problem {
	args := slices.Clone(p.args)
	for i, a := range args {
		if _, ok := a.(int); !ok {
			args[i] = hidden{}
		}
	}
	if slices.Equal(args, p.args) {
		return p
	}
	p = newProblem(p.Position, p.kind, args...)
	p.Message += "; values are not shown, since a link may lead to this file, out of " + quotePath(left.String()) + ": name the file itself to see them"
	return p
}

// hidden stands in a message for a value that is not shown.
type hidden struct{}

// Format writes dots, whatever the verb.
func (hidden) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "...") }

// withoutKinds returns the problems as other packages see them.
func withoutKinds(found []problem) []Problem {
	var all []Problem
	for _, p := range found {
		all = append(all, p.Problem)
	}
	return all
}

// Shortened returns problems, without those above the limit of a run.
func Shortened(found []Problem) []Problem {
	all := make([]problem, len(found))
	for i, p := range found {
		all[i].Problem = p
	}
	return withoutKinds(shortened(all))
}

// shortened returns the problems, without those above the limit of a run.
func shortened(found []problem) []problem {
	if len(found) > maxProblems {
		return append(found[:maxProblems], newProblem(found[maxProblems].Position, tooManyProblems))
	}
	return found
}

// quoteMax is the number of characters of an input text that a message repeats.
const quoteMax = 40

// quote returns an input text as messages show it: clipped, escaped and quoted.
func quote(s string) string { return strconv.QuoteToASCII(clip(s, quoteMax)) }

// quotePath is quote for a path, which is longer.
func quotePath(s string) string { return strconv.QuoteToASCII(clip(s, 3*quoteMax)) }

// clip returns at most limit characters of s, followed by "..." if s has more.
func clip(s string, limit int) string {
	end := 0
	for range limit {
		_, size := utf8.DecodeRuneInString(s[end:])
		end += size
	}
	if end == len(s) {
		return s
	}
	return s[:end] + "..."
}

// oneLine escapes what is not printable ASCII, "##" and "@@".
func oneLine(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= ' ' && r <= '~' {
			b.WriteRune(r)
			continue
		}
		escaped := strconv.QuoteRuneToASCII(r)
		b.WriteString(escaped[1 : len(escaped)-1])
	}
	return strings.NewReplacer("##", `#\x23`, "@@", `@\x40`).Replace(b.String())
}

// oneOf returns the words as "a, b or c".
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// texts returns list as plain strings.
func texts[S ~string](list []S) []string {
	all := make([]string, len(list))
	for i, s := range list {
		all[i] = string(s)
	}
	return all
}

// correctionMax bounds how many allowed words a message lists. A mistyped word is
// compared with these alone.
const correctionMax = 20

// correction returns what to write instead of word: the most similar allowed word,
// if one is similar, and the list of allowed words.
func correction(word string, allowed []string) string {
	want := "want " + oneOf(allowed)
	if more := len(allowed) - correctionMax; more > 0 {
		allowed = allowed[:correctionMax]
		want = fmt.Sprintf("want %s or one of %d more", strings.Join(allowed, ", "), more)
	}
	if name := otherNames[strings.ToLower(word)]; slices.Contains(allowed, name) {
		return fmt.Sprintf("did you mean %s? %s", quote(name), want)
	}
	if hint := DidYouMean(word, allowed); hint != "" {
		return hint + " " + want
	}
	return want
}
