package config

import (
	"bytes"

	"gopkg.in/yaml.v3"
)

// The limits of one manifest.
const (
	maxBytes     = 1 << 20
	maxNodes     = 20_000
	maxDepth     = 50
	maxNeeds     = 4_096
	maxPorts     = 65_536
	maxTargets   = 256
	maxAddresses = 64
)

// The limits of all manifests of a run. As each manifest has a need, there are no
// more files than needs, of 8 kB on average.
const (
	maxFiles    = maxNeeds
	maxAllBytes = 32 << 20
	maxProblems = 1000 // nobody reads more of them
)

// inspector reports the YAML features that are not allowed anywhere in a
// manifest, not even under x- keys. It stops at the first limit.
type inspector struct {
	walker
	starts   map[lineColumn]*yaml.Node // nil: the text has no tags
	nodes    int
	exceeded bool // a limit was reported
}

type lineColumn struct{ line, column int }

// inspect inspects all nodes below root and reports whether they are within the
// limits.
func (w *walker) inspect(root *yaml.Node, data []byte) bool {
	i := inspector{walker: walker{file: w.file}}
	if bytes.IndexByte(data, '!') >= 0 {
		i.starts = map[lineColumn]*yaml.Node{}
	}
	i.visit(root, 1)
	i.findTags(data)
	w.found = append(w.found, i.found...)
	return !i.exceeded
}

func (i *inspector) visit(n *yaml.Node, depth int) {
	i.nodes++
	switch {
	case i.exceeded:
		return
	case i.nodes > maxNodes:
		i.exceeded = true
		i.report(n, tooManyNodes)
		return
	case depth > maxDepth:
		i.exceeded = true
		i.report(n, tooDeep)
		return
	}
	if i.starts != nil {
		i.starts[lineColumn{n.Line, n.Column}] = n
	}
	if n.Anchor != "" {
		i.report(n, hasAnchor, quote(n.Anchor))
	}
	if n.Kind == yaml.AliasNode {
		i.report(n, hasAlias, quote(n.Value))
	}
	for k, child := range n.Content {
		if n.Kind == yaml.MappingNode && k%2 == 0 && isMerge(child) {
			i.report(child, hasMerge)
		}
		i.visit(child, depth+1)
	}
}

// findTags reports the nodes that start with a "!". It reads the text because
// the library drops the tag "!", and because a block mapping has the position of
// its first key, so that a node does not show which of the two has the tag.
func (i *inspector) findTags(data []byte) {
	if i.starts == nil {
		return
	}
	at := lineColumn{1, 1}
	for k, r := range string(data) {
		switch {
		case r == '\n', r == '\r' && (k+1 == len(data) || data[k+1] != '\n'):
			at = lineColumn{at.line + 1, 1}
			continue
		case r == '!' && i.starts[at] != nil:
			i.report(i.starts[at], hasTag)
		}
		at.column++
	}
}
