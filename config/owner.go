package config

import (
	"path"
	"strings"

	"gopkg.in/yaml.v3"
)

func (m *manifest) ownerList(key string, n *yaml.Node) ([]Owner, bool) {
	return oneOrMore(&m.walker, key, "a mapping such as {unit: nginx.service}, or a list of these", n, m.owner)
}

func (m *manifest) owner(key string, n *yaml.Node) (Owner, bool) {
	var o Owner
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		m.report(n, textOwner, key, plain(n.Value))
		return o, false
	}
	entries := m.ownerEntries(&o)
	before := len(m.found)
	fields := m.mapping(key, key+".", n, entries)
	if len(m.found) > before {
		return o, false
	}
	if len(fields) == 0 {
		m.report(n, emptyOwner, key, oneOf(keys(entries)))
		return o, false
	}
	return o, true
}

// ownerEntries returns the keys that an owner may have.
func (m *manifest) ownerEntries(o *Owner) []entry {
	return []entry{
		{"process", into(&o.Process, m.glob)},
		{"executable", into(&o.Executable, m.glob)},
		{"unit", into(&o.Unit, m.glob)},
		{"container", into(&o.Container, m.glob)},
		{"image", into(&o.Image, m.glob)},
		{"compose", into(&o.Compose, m.glob)},
		{"user", into(&o.User, m.glob)},
	}
}

func (m *manifest) glob(key string, n *yaml.Node) (string, bool) {
	s, ok := m.text(key, "text or a glob such as nginx*", n)
	if !ok {
		return "", false
	}
	if strings.Trim(s, "*") == "" {
		m.report(n, matchesAll, key, quote(s))
		return "", false
	}
	if _, err := path.Match(s, ""); err != nil {
		m.report(n, badOwnerGlob, key, quote(s))
		return "", false
	}
	return s, true
}
