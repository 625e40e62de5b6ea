package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// problem is a Problem that remembers its kind.
type problem struct {
	Problem
	kind kind
}

// newProblem is the one place where messages are made. Whatever the arguments
// hold, the message is one printable line without the "##[" that some runners
// obey in the middle of a line.
func newProblem(at Position, k kind, args ...any) problem {
	return problem{Problem{at, oneLine(fmt.Sprintf(string(k), args...))}, k}
}

// public strips the kinds, which are nobody else's business.
func public(found []problem) []Problem {
	var all []Problem
	for _, p := range found {
		all = append(all, p.Problem)
	}
	return all
}

// quoteMax is how many characters of a foreign text a message repeats.
const quoteMax = 40

// quote is a foreign text as messages show it: clipped, escaped, in quotes.
func quote(s string) string { return strconv.QuoteToASCII(clip(s, quoteMax)) }

func clip(s string, most int) string {
	end := 0
	for range most {
		_, size := utf8.DecodeRuneInString(s[end:])
		end += size
	}
	if end == len(s) {
		return s
	}
	return s[:end] + "..."
}

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
	return strings.ReplaceAll(b.String(), "##[", `##\x5b`)
}

// oneOf is "a, b or c".
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// texts are named strings as plain ones.
func texts[S ~string](list []S) []string {
	all := make([]string, len(list))
	for i, s := range list {
		all[i] = string(s)
	}
	return all
}

// remedyMax bounds what a message lists, and what a mistyped word is compared
// with.
const remedyMax = 20

// remedy is what to write instead of word: the near miss, then what is allowed.
func remedy(word string, allowed []string) string {
	want := "want " + oneOf(allowed)
	if more := len(allowed) - remedyMax; more > 0 {
		allowed = allowed[:remedyMax]
		want = fmt.Sprintf("want %s or one of %d more", strings.Join(allowed, ", "), more)
	}
	if hint := DidYouMean(word, allowed); hint != "" {
		return hint + " " + want
	}
	return want
}

// byPlace sorts the problems of one file by line and column.
func byPlace(found []problem) {
	slices.SortStableFunc(found, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
