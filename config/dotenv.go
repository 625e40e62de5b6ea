package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
)

// disableDotEnv is the variable that makes Compose read no file .env for a project.
const disableDotEnv = "COMPOSE_DISABLE_ENV_FILE"

// envFiles returns the files that replace .env.
func (o Options) envFiles() []string {
	if len(o.EnvFiles) > 0 {
		return o.EnvFiles
	}
	list, _ := o.getenv("COMPOSE_ENV_FILES")
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// projectEnv returns the variables of the environment and of the files that Compose
// reads for a project: those that the options name, else the files .env of directories,
// of which the earlier ones have precedence.
func (o Options) projectEnv(dirs ...string) (lookup, []problem) {
	get := lookup(o.getenv)
	if files := o.envFiles(); len(files) > 0 {
		env, found := readEnvFiles(files, o, get)
		return get.or(env), found
	}
	if value, ok := o.getenv(disableDotEnv); ok {
		disabled, err := strconv.ParseBool(value)
		if err != nil {
			return get, []problem{newProblem(Position{}, badBool, disableDotEnv, quote(value))}
		}
		if disabled {
			return get, nil
		}
	}
	var all []problem
	for _, dir := range dirs {
		env, found := readDotEnv(dir, o, get)
		get, all = get.or(env), append(all, found...)
	}
	return get, all
}

// readDotEnv returns the variables of the file .env of a directory, if there is one.
func readDotEnv(dir string, o Options, get lookup) (map[string]string, []problem) {
	name := filepath.Join(dir, ".env")
	switch info, err := os.Stat(name); {
	case errors.Is(err, os.ErrNotExist):
		if _, err := os.Lstat(name); err != nil { // or else a link that leads nowhere
			return nil, nil
		}
	case err == nil && info.IsDir():
		return nil, nil
	}
	return readEnvFiles([]string{name}, o, get)
}

// readEnvFiles returns the variables of .env files. Those of later ones have precedence.
func readEnvFiles(names []string, o Options, get lookup) (map[string]string, []problem) {
	all := map[string]string{}
	for _, name := range names {
		if o.spent != nil && o.spent.bytes > maxAllBytes {
			return nil, []problem{newProblem(Position{File: name}, tooManyBytes)}
		}
		data, _, found := o.readFile(name, o.Bounds)
		if len(found) > 0 {
			return nil, found
		}
		data = bytes.TrimPrefix(data, []byte("\ufeff"))
		places := map[string]int{}
		left, at, bad := addDotEnv(all, places, string(data), get)
		if bad != "" { // without the text, which may be a secret
			return nil, []problem{newProblem(position(name, data, at), bad)}
		}
		if at, ok := places[composeFile]; ok && o.listedAt != nil && all[composeFile] != "" {
			*o.listedAt = position(name, data, at)
		}
		if o.spent != nil {
			o.spent.bytes += len(data) + maxBytes - left
		}
	}
	return all, nil
}

// addDotEnv adds the variables of a file .env as Compose does, also in odd cases:
// https://github.com/compose-spec/compose-go/blob/v2.16.2/dotenv/parser.go. Values may
// refer to earlier ones; together they have at most maxBytes bytes, less what it returns.
// It adds the offset of each value to places. If something is wrong, at is its offset.
func addDotEnv(env map[string]string, places map[string]int, text string, get lookup) (left, at int, bad kind) {
	left = maxBytes
	variables := func(name string) (string, bool) {
		if value, ok := get(name); ok {
			return value, true
		}
		value, ok := env[name]
		return value, ok
	}
	expand := func(s string) (string, error) {
		return interpolate(s, variables, left)
	}
	size := len(text)
	for {
		if text = statement(text); text == "" {
			return left, 0, ""
		}
		key, rest, inherited, ok := dotEnvKey(text)
		if !ok {
			return 0, size - len(rest), badDotEnv
		}
		if inherited {
			if value, ok := get(key); ok {
				env[key] = value
			}
			text = rest
			continue
		}
		places[key] = size - len(rest)
		value, after, bad := dotEnvValue(rest, expand)
		if bad != "" {
			return 0, places[key], bad
		}
		env[key], text = value, after
		left -= len(value)
	}
}

// statement returns a text without the blank lines and comments at its start.
func statement(text string) string {
	for {
		text = strings.TrimLeftFunc(text, unicode.IsSpace)
		if !strings.HasPrefix(text, "#") {
			return text
		}
		_, text, _ = strings.Cut(text, "\n")
	}
}

// isDotEnvSpace reports whether r is a space, but not a line break.
func isDotEnvSpace(r rune) bool { return strings.ContainsRune("\t\v\f\r \u0085\u00a0", r) }

// dotEnvKey returns the key at the start of a text and the text after it. The value of
// an inherited one is that of the environment. If there is no key, rest starts where it
// is seen.
func dotEnvKey(text string) (key, rest string, inherited, ok bool) {
	start := text
	if after, ok := strings.CutPrefix(text, "export"); ok && strings.TrimLeft(after, "\t\n\f\r ") != after {
		text = strings.TrimLeftFunc(after, isDotEnvSpace)
	}
	if text == "" {
		return "", start, false, false
	}
	end := strings.IndexFunc(text, func(r rune) bool {
		return !isDotEnvSpace(r) && !strings.ContainsRune("_.-[]", r) && !unicode.IsLetter(r) && !unicode.IsNumber(r)
	})
	if end < 0 { // Compose takes the last line without a line break for a value
		return "", text, false, true
	}
	if !strings.ContainsRune("=:\n", rune(text[end])) {
		return "", text[end:], false, false
	}
	key = strings.TrimRightFunc(text[:end], unicode.IsSpace)
	if strings.Contains(key, " ") {
		return "", start, false, false
	}
	return key, strings.TrimLeftFunc(text[end+1:], isDotEnvSpace), text[end] == '\n', true
}

// dotEnvValue returns the value at the start of a text and the text after it.
func dotEnvValue(text string, expand func(string) (string, error)) (value, rest string, bad kind) {
	replace := func(s string) {
		var err error
		switch value, err = expand(s); {
		case errors.Is(err, errTooLong):
			bad = tooBig
		case err != nil:
			bad = badDotEnvValue
		}
	}
	if text == "" || text[0] != '"' && text[0] != '\'' {
		value, rest, _ = strings.Cut(text, "\n")
		value, _, _ = strings.Cut(value, " #")
		replace(strings.TrimRightFunc(value, unicode.IsSpace))
		return value, rest, bad
	}
	quote := text[0]
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		c := text[i]
		switch {
		case c == quote:
			value, rest = b.String(), text[i+1:]
			if quote == '"' {
				replace(unescape(value))
			}
			return value, rest, bad
		case c == '\\' && i+1 < len(text):
			i++
			if text[i] != quote {
				b.WriteByte('\\')
			}
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", openQuote
}

// unescape replaces the escapes of a text in double quotes. A dollar sign becomes two,
// which interpolate makes one.
func unescape(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		escape := `\`
		switch {
		case after == "" || !strings.ContainsRune(`abcfnrtv$"\0`, rune(after[0])):
			s = after
			b.WriteString(escape)
			continue
		case after[0] == '$':
			b.WriteString("$$")
			s = after[1:]
			continue
		case after[0] == '0': // and up to three digits: as in shells, not as in Go
			n := 1
			for n < 4 && n < len(after) && '0' <= after[n] && after[n] <= '9' {
				n++
			}
			escape, s = escape+after[1:n], after[n:]
		default:
			escape, s = escape+after[:1], after[1:]
		}
		if r, _, _, err := strconv.UnquoteChar(escape, '"'); err == nil {
			escape = string(r)
		}
		b.WriteString(escape)
	}
}
