package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/org/portcheck/port"
	"gopkg.in/yaml.v3"
)

// noBreakSpace looks like a blank in an editor, but YAML takes it for text.
const noBreakSpace = "\u00a0"

const noInterpolation = "nothing is interpolated here: write a number, and change it with --set NAME=PORT"

// portHint returns what to write instead of a text that is meant as a port, or "" if
// the text is like none of the usual mistakes.
func portHint(key, s string) string {
	isPort := func(s string) bool {
		_, err := port.ParseNumber(s)
		return err == nil
	}
	switch {
	case strings.Contains(s, noBreakSpace):
		return "it contains U+00A0, a non-breaking space: write a plain space or none"
	case strings.Contains(s, "$"), strings.Contains(s, "{{"):
		return noInterpolation
	case strings.HasPrefix(s, "-"):
		return "it is negative: want a port from 1 to 65535"
	}
	if number, protocol, ok := strings.Cut(s, "/"); ok && slices.Contains(texts(port.Protocols), strings.ToLower(protocol)) && isPort(number) {
		if key != "port" {
			return "want the port alone: " + number
		}
		return fmt.Sprintf("want port: %s and protocol: %s", number, strings.ToLower(protocol))
	}
	if first, last, ok := strings.Cut(s, ".."); ok && isPort(first) && isPort(strings.TrimLeft(last, ".")) {
		return fmt.Sprintf("a range is written as %s-%s", first, strings.TrimLeft(last, "."))
	}
	if first, last, ok := strings.Cut(s, "-"); ok && strings.Contains(s, " ") && isPort(strings.TrimSpace(first)) && isPort(strings.TrimSpace(last)) {
		return fmt.Sprintf("a range has no blanks: %s-%s", strings.TrimSpace(first), strings.TrimSpace(last))
	}
	if host, container, ok := strings.Cut(s, ":"); ok && isPort(host) && isPort(container) {
		if key != "port" {
			return fmt.Sprintf("a range is written as %s-%s", host, container)
		}
		return "want the host port only: " + host
	}
	if items := strings.Split(s, ","); len(items) > 1 {
		for _, item := range items {
			if _, err := port.ParseRange(strings.TrimSpace(item)); err != nil {
				return ""
			}
		}
		if key == "port" {
			return "write one need for each port"
		}
		return "a list is written in brackets, as in [8000-8099, 9443]"
	}
	if number := strings.TrimLeft(s, "0"); number != s && isPort(number) {
		return "a number has no leading zero: want " + number
	}
	return ""
}

// isTemplate reports whether a node is what YAML makes of {{ text }}: a mapping in
// which the key is a mapping.
func isTemplate(n *yaml.Node) bool {
	return n.Kind == yaml.MappingNode && len(n.Content) > 0 && n.Content[0].Kind == yaml.MappingNode
}

// otherNames maps keys that other programs have to those of a manifest.
var otherNames = map[string]string{
	"host_port": "port", "hostport": "port", "published": "port", "number": "port",
	"host_ip": "address", "bind": "address", "ip": "address", "listen": "address",
	"environment": "env", "variable": "env",
	"proto": "protocol", "protocols": "protocol",
	"service": "name", "user": "run_as",
}

// oddSpace returns the offset of a no-break space in the line of a syntax error, at
// offset at, or in the one before it.
func oddSpace(data []byte, at int) (int, bool) {
	start := bytes.LastIndexByte(data[:at], '\n') + 1
	if start > 0 {
		start = bytes.LastIndexByte(data[:start-1], '\n') + 1
	}
	end := len(data)
	if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
		end = at + i
	}
	i := bytes.Index(data[start:end], []byte(noBreakSpace))
	return start + i, i >= 0
}

// lineAt returns the line that starts at an offset.
func lineAt(data []byte, start int) string {
	line, _, _ := bytes.Cut(data[start:], []byte("\n"))
	return string(line)
}

// asYAML11 returns data with its directive "%YAML 1.2" as "%YAML 1.1", which is the
// only one that the library accepts. It reads both versions in the same way.
func asYAML11(data []byte) []byte {
	const directive, number = "%YAML ", "1.2"
	for i := 0; i < len(data); {
		end := len(data)
		if n := bytes.IndexByte(data[i:], '\n'); n >= 0 {
			end = i + n + 1
		}
		line := data[i:end]
		switch trimmed := bytes.TrimSpace(line); {
		case len(trimmed) == 0, trimmed[0] == '#':
		case bytes.HasPrefix(line, []byte(directive+number)) && !isDigit(line, len(directive+number)):
			changed := bytes.Clone(data)
			changed[i+len(directive+number)-1] = '1'
			return changed
		default:
			return data
		}
		i = end
	}
	return data
}

func isDigit(s []byte, i int) bool { return i < len(s) && '0' <= s[i] && s[i] <= '9' }

// plain returns a text as a message shows it in an example of YAML: quoted only if it
// has to be.
func plain(s string) string {
	for _, r := range s {
		if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_./-", r)) {
			return quote(s)
		}
	}
	if utf8.RuneCountInString(s) > quoteMax || s == "" {
		return quote(s)
	}
	return s
}
