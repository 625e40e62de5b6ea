package config

import (
	"errors"
	"fmt"
	"strings"
)

// lookup returns the value of a variable, and reports whether it is set.
type lookup func(name string) (string, bool)

var (
	errReference = errors.New("not a valid reference to a variable")
	errTooLong   = errors.New("too long after variables are replaced")
)

// requiredError is that of ${NAME:?reason} if the variable has no value. The reason is
// the text of the file, since values may be secrets.
type requiredError struct{ name, reason string }

func (e requiredError) Error() string { return fmt.Sprintf("%s is required: %s", e.name, e.reason) }

// interpolate replaces the references to variables in a text as Compose does:
// https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md. The result
// has at most limit bytes: a few references can make a short text huge.
func interpolate(s string, get lookup, limit int) (string, error) {
	return expandVariables(s, get, limit, 1)
}

func expandVariables(s string, get lookup, limit, depth int) (string, error) {
	if depth > maxDepth {
		return "", errReference
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found {
			break
		}
		value, rest, err := reference(after, get, limit, depth)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		if s = rest; b.Len() > limit {
			return "", errTooLong
		}
	}
	if b.Len() > limit {
		return "", errTooLong
	}
	return b.String(), nil
}

// reference returns what stands for the reference at the start of a text, after its
// dollar sign, and the rest of the text.
func reference(s string, get lookup, limit, depth int) (value, rest string, err error) {
	switch {
	case strings.HasPrefix(s, "$"):
		return "$", s[1:], nil
	case strings.HasPrefix(s, "{"):
		return braced(s[1:], get, limit, depth)
	}
	n := variableLen(s)
	if n == 0 {
		return "$", s, nil
	}
	value, _ = get(s[:n])
	return value, s[n:], nil
}

// braced is reference for ${NAME}, ${NAME:-value} and the like, after the brace.
func braced(s string, get lookup, limit, depth int) (value, rest string, err error) {
	n := variableLen(s)
	name, s := s[:n], s[n:]
	value, set := get(name)
	switch {
	case n == 0:
		return "", "", errReference
	case strings.HasPrefix(s, "}"):
		return value, s[1:], nil
	}
	operator, ofEmpty := s, strings.HasPrefix(s, ":")
	if ofEmpty {
		operator, set = s[1:], set && value != ""
	}
	end, ok := closingBrace(operator)
	if !ok || !strings.ContainsAny(operator[:1], "-+?") {
		return "", "", errReference
	}
	word, rest := operator[1:end], operator[end+1:]
	switch operator[0] {
	case '?':
		if !set {
			return "", "", requiredError{name, word}
		}
		return value, rest, nil
	case '+':
		if !set {
			return "", rest, nil
		}
	default:
		if set {
			return value, rest, nil
		}
	}
	value, err = expandVariables(word, get, limit, depth+1)
	return value, rest, err
}

// variableLen returns the length of the name of a variable at the start of a text.
func variableLen(s string) int {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(s)
}

// closingBrace returns the offset of the brace that closes the one before a text: on
// its line, and after as many closing as opening ones, if there are so many. Like
// Compose, it passes over the character after an opening brace.
func closingBrace(s string) (int, bool) {
	line, _, _ := strings.Cut(s, "\n")
	for i, open := 0, 1; i < len(line); i++ {
		switch line[i] {
		case '{':
			open++
			i++
		case '}':
			if open--; open == 0 {
				return i, true
			}
		}
	}
	last := strings.LastIndexByte(line, '}')
	return last, last >= 0
}
