package config

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// walker reads the nodes of one file and collects problems.
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

// entry is a key that a mapping may have, with the function that reads its value.
// The first argument of read is the key as messages show it.
type entry struct {
	key  string
	read func(key string, n *yaml.Node)
}

// into returns the read function of an entry that stores the parsed value in dst.
func into[T any](dst *T, parse func(string, *yaml.Node) (T, bool)) func(string, *yaml.Node) {
	return func(key string, n *yaml.Node) {
		if v, ok := parse(key, n); ok {
			*dst = v
		}
	}
}

// mapping reads a mapping with the given entries and returns its fields. Other
// keys are reported. Messages show the keys with prefix.
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
			w.report(f.key, unknownKey, quote(f.key.Value), correction(f.key.Value, keys(entries)))
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

// fields returns the fields of a mapping without those that are ignored (x- keys)
// or were reported by inspect (aliases and merge keys).
func (w *walker) fields(name string, n *yaml.Node) []field {
	if n.Kind != yaml.MappingNode {
		w.reportWrongType(name, "a mapping (key: value)", n)
		return nil
	}
	var all []field
	first := map[string]*yaml.Node{}
	for pair := range slices.Chunk(n.Content, 2) {
		key, value := pair[0], pair[1]
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

// list reads a list that is not empty and has no duplicates.
func list[T comparable](w *walker, key, want string, n *yaml.Node, parse func(string, *yaml.Node) (T, bool)) ([]T, bool) {
	if n.Kind != yaml.SequenceNode {
		w.reportWrongType(key, want, n)
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

// items reads the items of a list and reports duplicates.
func items[T comparable](w *walker, key string, n *yaml.Node, parse func(string, *yaml.Node) (T, bool)) ([]T, bool) {
	all := make([]T, 0, len(n.Content))
	first := map[T]*yaml.Node{}
	for _, item := range n.Content {
		if item.Kind == yaml.AliasNode {
			continue
		}
		v, ok := parse(key, item)
		switch before := first[v]; {
		case !ok:
		case before != nil:
			w.report(item, listedTwice, key, quote(display(item)), before.Line, before.Column)
		default:
			first[v] = item
			all = append(all, v)
		}
	}
	return all, true
}

// scalar returns the text of a value as the file has it.
func (w *walker) scalar(key, want string, n *yaml.Node) (string, bool) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		w.reportWrongType(key, want, n)
		return "", false
	}
	return n.Value, true
}

// reportWrongType reports a value of a wrong type or without a value.
func (w *walker) reportWrongType(key, want string, n *yaml.Node) {
	if isNull(n) {
		w.report(n, noValue, key, want)
		return
	}
	w.report(n, wrongType, key, want, describe(n))
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func isMerge(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!merge" }

// display returns a scalar, or a mapping of scalars, as messages show it.
func display(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	var fields []string
	for pair := range slices.Chunk(n.Content, 2) {
		if key, value := pair[0], pair[1]; value.Kind == yaml.ScalarNode {
			fields = append(fields, key.Value+": "+value.Value)
		}
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// describe returns what a node is, for messages.
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
	return "text"
}
