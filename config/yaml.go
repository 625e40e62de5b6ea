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

// locateMax is the size up to which a syntax error is located to the column.
const locateMax = 64 << 10

// readYAML gives the one document's content.
func readYAML(file string, data []byte) (*yaml.Node, []problem) {
	docs, err := documents(data)
	if err != nil {
		return nil, []problem{yamlProblem(file, data, err)}
	}
	if len(docs) == 0 {
		return nil, []problem{newProblem(Position{file, 1, 1}, emptyFile)}
	}
	root := docs[0].Content[0]
	if len(docs) > 1 {
		return root, []problem{newProblem(Position{file, docs[1].Line, docs[1].Column}, secondDoc)}
	}
	return root, nil
}

func yamlProblem(file string, data []byte, err error) problem {
	if crash := (panicked{}); errors.As(err, &crash) {
		return newProblem(Position{file, 1, 1}, yamlPanic, clip(fmt.Sprint(crash.value), 3*quoteMax))
	}
	return newProblem(locate(file, data, err), badSyntax, explain(err))
}

// panicked is a panic of the YAML library.
type panicked struct{ value any }

func (p panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// guard turns a panic of f into an error: yaml.v3 is known to panic.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked{v}
		}
	}()
	return f()
}

// documents decodes the first two documents, and only into nodes: a typed
// decode has more ways to panic, and expands aliases.
func documents(data []byte) ([]*yaml.Node, error) {
	var docs []*yaml.Node
	err := guard(func() error {
		dec := yaml.NewDecoder(bytes.NewReader(data))
		for len(docs) < 2 {
			var doc yaml.Node
			err := dec.Decode(&doc)
			if err == io.EOF {
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

// locate finds where a syntax error is. The library tells where the value that
// holds it started, one line off in some cases and not at all in others; the
// shortest text with the same error ends where the error is.
func locate(file string, data []byte, err error) Position {
	if len(data) > locateMax {
		return position(file, data, lineStart(data, err))
	}
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

// lineStart is the offset of the line that the library's error names.
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
	return min(start, max(0, len(data)-1))
}

// hints say what usually lies behind the library's words.
var hints = map[string]string{
	"mapping values are not allowed in this context": `a text that holds ": " needs quotes`,
	"did not find expected alphabetic or numeric":    "a text that starts with * or & needs quotes",
	"unknown anchor": "a text that starts with * needs quotes",
	"found character that cannot start any token":         "a text that starts with @, % or ` needs quotes, and tabs cannot indent",
	"did not find expected key":                           "is this line indented like the keys above it?",
	"did not find expected '-' indicator":                 "is this line indented like the list above it?",
	"did not find expected ',' or ']'":                    "a [ is not closed, or a comma is missing",
	"did not find expected ',' or '}'":                    "a { is not closed, or a comma is missing",
	"found unexpected end of stream":                      "a quote is not closed",
	"could not find expected ':'":                         "a key needs a colon and a blank after it",
	"block sequence entries are not allowed in this cont": "a list starts on a line of its own",
}

func explain(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if _, rest, ok = strings.Cut(rest, ": "); ok {
			text = rest
		}
	}
	for part, hint := range hints {
		if strings.Contains(text, part) {
			return clip(text, 3*quoteMax) + ": " + hint
		}
	}
	return clip(text, 3*quoteMax)
}
