package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// locateMax is the size of the largest file in which locate searches for a syntax
// error.
const locateMax = 64 << 10

// readYAML returns the content of the file's only document, nil if it has none. The problem
// is of the kind empty if that is all.
func readYAML(file string, data []byte, empty kind) (*yaml.Node, []problem) {
	docs, err := documents(data)
	if err != nil {
		return nil, []problem{yamlProblem(file, data, err)}
	}
	var root *yaml.Node
	if len(docs) > 0 && !isNull(docs[0].Content[0]) {
		root = docs[0].Content[0]
	}
	switch {
	case len(docs) > 1:
		return root, []problem{newProblem(Position{file, docs[1].Line, docs[1].Column}, secondDoc)}
	case root == nil:
		return nil, []problem{newProblem(Position{file, 1, 1}, empty)}
	}
	return root, nil
}

// readDocuments returns the content of all documents of a file, which may be none.
func readDocuments(file string, data []byte) ([]*yaml.Node, []problem) {
	docs, err := decode(data, maxMarks)
	if err != nil {
		return nil, []problem{yamlProblem(file, data, err)}
	}
	roots := make([]*yaml.Node, len(docs))
	for i, doc := range docs {
		roots[i] = doc.Content[0]
		if isNull(roots[i]) { // it may be behind the end of the file
			roots[i].Line, roots[i].Column = doc.Line, doc.Column
		}
	}
	return roots, nil
}

func yamlProblem(file string, data []byte, err error) problem {
	if crash := (panicError{}); errors.As(err, &crash) {
		return newProblem(Position{file, 1, 1}, yamlPanic, clip(fmt.Sprint(crash.value), 3*quoteMax))
	}
	if limit := (limitError{}); errors.As(err, &limit) {
		return newProblem(position(file, data, limit.at), limit.kind)
	}
	start := lineStart(data, err)
	if at, ok := oddSpace(data, start); ok {
		return newProblem(position(file, data, at), oddBlank)
	}
	p := newProblem(position(file, data, start), badSyntax, syntaxMessage(err, lineAt(data, start)))
	if len(data) <= locateMax {
		p.locate = func() Position { return locate(file, data, err) }
	}
	return p
}

// panicError is a panic of the YAML library.
type panicError struct{ value any }

func (p panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// catchPanic calls f and returns its panic as an error: yaml.v3 is known to panic
// on some input.
func catchPanic(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError{v}
		}
	}()
	return f()
}

// documents decodes the first two documents, unless that would take long. It decodes
// into nodes: decoding into other types expands aliases and has more ways to panic.
func documents(data []byte) ([]*yaml.Node, error) { return decode(data, 2) }

// decode is documents for the first most documents.
func decode(data []byte, most int) ([]*yaml.Node, error) {
	if _, err := effort(data); err != nil {
		return nil, err
	}
	var docs []*yaml.Node
	err := catchPanic(func() error {
		dec := yaml.NewDecoder(bytes.NewReader(asYAML11(data)))
		for len(docs) < most {
			var doc yaml.Node
			err := dec.Decode(&doc)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			docs = append(docs, &doc)
		}
		return nil
	})
	return docs, err
}

// locate returns the position of a syntax error. The library's own line is that of
// the start of the value with the error, in some cases off by one, and in others
// missing. The error is at the end of the shortest prefix of data that causes the
// same error. The search takes as long as reading the file 16 times.
func locate(file string, data []byte, err error) Position {
	end := sort.Search(len(data), func(n int) bool {
		_, e := documents(data[:n])
		return e != nil && e.Error() == err.Error()
	})
	at := max(0, end-1)
	for at > 0 && (data[at] == '\n' || data[at] == '\r' || !utf8.RuneStart(data[at])) {
		at--
	}
	return position(file, data, at)
}

// lineStart returns the offset of the line that the library's error names.
func lineStart(data []byte, err error) int {
	line, start := 0, 0
	if _, e := fmt.Sscanf(err.Error(), "yaml: line %d:", &line); e != nil {
		return 0
	}
	for range line - 1 {
		i := bytes.IndexByte(data[start:], '\n')
		if i < 0 {
			break
		}
		start += i + 1
	}
	start = min(start, max(0, len(data)-1))
	if start > 0 && data[start] == '\n' && data[start-1] == '\r' {
		start-- // the two are one line break
	}
	return start
}

// hints maps parts of the library's error texts to their usual causes.
var hints = map[string]string{
	"mapping values are not allowed in this context": `text that contains ": " needs quotes`,
	"did not find expected alphabetic or numeric":    "text that starts with * or & needs quotes",
	"unknown anchor": "text that starts with * needs quotes",
	"found character that cannot start any token":         "text that starts with @, % or a backtick needs quotes, and tabs cannot indent",
	"did not find expected key":                           "is this line indented like the keys above it?",
	"did not find expected '-' indicator":                 "is this line indented like the list above it?",
	"did not find expected ',' or ']'":                    "a [ is not closed, or a comma is missing",
	"did not find expected ',' or '}'":                    "a { is not closed, or a comma is missing",
	"did not find expected node content":                  "a value is missing, or text that starts with : (such as ::1) needs quotes",
	"found unexpected end of stream":                      "a quote is not closed",
	"could not find expected ':'":                         "a key needs a colon and a space after it",
	"block sequence entries are not allowed in this cont": "a list must start on its own line",
}

// syntaxMessage returns the library's error without its prefix, with a hint if one
// is known. line is the line that the error names.
func syntaxMessage(err error, line string) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if _, rest, ok = strings.Cut(rest, ": "); ok {
			text = rest
		}
	}
	if strings.Contains(text, "mapping values are not allowed") && strings.Count(line, ":") < 2 {
		return text + ": are this line and the next one indented like the keys above them?"
	}
	for part, hint := range hints {
		if strings.Contains(text, part) {
			return clip(text, 3*quoteMax) + ": " + hint
		}
	}
	return clip(text, 3*quoteMax)
}
