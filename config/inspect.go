package config

import "gopkg.in/yaml.v3"

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

// inspector looks at every node, those under x- keys too, for what no manifest
// may hold anywhere, and stops at the first limit.
type inspector struct {
	walker
	starts map[place]*yaml.Node
	nodes  int
	full   bool
}

type place struct{ line, column int }

// inspect says whether the walk may go on.
func (w *walker) inspect(root *yaml.Node, data []byte) bool {
	i := inspector{walker: walker{file: w.file}, starts: map[place]*yaml.Node{}}
	i.visit(root, 1)
	i.findTags(data)
	w.found = append(w.found, i.found...)
	return !i.full
}

func (i *inspector) visit(n *yaml.Node, depth int) {
	i.nodes++
	switch {
	case i.full:
		return
	case i.nodes > maxNodes:
		i.full = true
		i.report(n, tooManyNodes)
		return
	case depth > maxDepth:
		i.full = true
		i.report(n, tooDeep)
		return
	}
	i.starts[place{n.Line, n.Column}] = n
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

// findTags reports the nodes that start with a "!". It asks the text because
// the library forgets the tag "!", and because a block mapping starts where its
// first key does, so that the nodes don't tell whose tag it is.
func (i *inspector) findTags(data []byte) {
	at := place{1, 1}
	for k, r := range string(data) {
		switch {
		case r == '\n', r == '\r' && (k+1 == len(data) || data[k+1] != '\n'):
			at = place{at.line + 1, 1}
			continue
		case r == '!' && i.starts[at] != nil:
			i.report(i.starts[at], hasTag)
		}
		at.column++
	}
}
