package config

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// walker goes over the nodes of one file and collects what is wrong.
type walker struct {
	file  string
	found []problem
}

func (w *walker) at(n *yaml.Node) Position { return Position{w.file, n.Line, n.Column} }

func (w *walker) report(n *yaml.Node, k kind, args ...any) {
	w.found = append(w.found, newProblem(w.at(n), k, args...))
}

// field is a key of a mapping with its value.
type field struct{ key, value *yaml.Node }

// entry says how the value of one key is read. The first argument of read is
// the key as messages show it.
type entry struct {
	key  string
	read func(key string, n *yaml.Node)
}

// into makes the reader of an entry that stores what parse accepts.
func into[T any](dst *T, parse func(string, *yaml.Node) (T, bool)) func(string, *yaml.Node) {
	return func(key string, n *yaml.Node) {
		if v, ok := parse(key, n); ok {
			*dst = v
		}
	}
}

// mapping reads a mapping of which all keys are known, and gives the fields
// that are there. Prefix goes before the keys in messages.
func (w *walker) mapping(name, prefix string, n *yaml.Node, entries []entry) map[string]field {
	fields := map[string]field{}
	for _, f := range w.fields(name, n) {
		known := false
		for _, e := range entries {
			if e.key != f.key.Value {
				continue
			}
			known = true
			fields[e.key] = f
			if f.value.Kind != yaml.AliasNode {
				e.read(prefix+e.key, f.value)
			}
		}
		if !known {
			w.report(f.key, unknownKey, quote(f.key.Value), remedy(f.key.Value, keys(entries)))
		}
	}
	return fields
}

func keys(entries []entry) []string {
	all := make([]string, len(entries))
	for i, e := range entries {
		all[i] = e.key
	}
	return all
}

// fields gives the fields of a mapping less what is ignored (x- keys) or was
// reported by inspect (aliases and merge keys).
func (w *walker) fields(name string, n *yaml.Node) []field {
	if n.Kind != yaml.MappingNode {
		w.mistyped(name, "a mapping (key: value)", n)
		return nil
	}
	var all []field
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch before := first[key.Value]; {
		case key.Kind == yaml.AliasNode, isMerge(key):
		case key.Kind != yaml.ScalarNode:
			w.report(key, badKey, describe(key))
		case before != nil:
			w.report(key, duplicateKey, quote(key.Value), before.Line, before.Column)
		default:
			first[key.Value] = key
			if !strings.HasPrefix(key.Value, "x-") {
				all = append(all, field{key, value})
			}
		}
	}
	return all
}

// list reads a list that is not empty and has nothing twice.
func list[T comparable](w *walker, key, want string, n *yaml.Node, parse func(string, *yaml.Node) (T, bool)) ([]T, bool) {
	if n.Kind != yaml.SequenceNode {
		w.mistyped(key, want, n)
		return nil, false
	}
	if len(n.Content) == 0 {
		w.report(n, emptyList, key, want)
		return nil, false
	}
	return items(w, key, n, parse)
}

// oneOrMore reads a list, or a single value as a list of one.
func oneOrMore[T comparable](w *walker, key, want string, n *yaml.Node, parse func(string, *yaml.Node) (T, bool)) ([]T, bool) {
	if n.Kind == yaml.SequenceNode {
		return list(w, key, want, n, parse)
	}
	v, ok := parse(key, n)
	return []T{v}, ok
}

func items[T comparable](w *walker, key string, n *yaml.Node, parse func(string, *yaml.Node) (T, bool)) ([]T, bool) {
	all := make([]T, 0, len(n.Content))
	seen := map[T]bool{}
	for _, item := range n.Content {
		if item.Kind == yaml.AliasNode {
			continue
		}
		v, ok := parse(key, item)
		switch {
		case !ok:
		case seen[v]:
			w.report(item, listedTwice, key, quote(shown(item)))
		default:
			seen[v] = true
			all = append(all, v)
		}
	}
	return all, true
}

// scalar gives the text of a value as the file has it.
func (w *walker) scalar(key, want string, n *yaml.Node) (string, bool) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		w.mistyped(key, want, n)
		return "", false
	}
	return n.Value, true
}

func (w *walker) mistyped(key, want string, n *yaml.Node) {
	if isNull(n) {
		w.report(n, noValue, key, want)
		return
	}
	w.report(n, wrongType, key, want, describe(n))
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func isMerge(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!merge" }

// shown is a value as a message shows it; only scalars have a text.
func shown(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	return "{...}"
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.Tag {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a boolean"
	}
	return "a text"
}
