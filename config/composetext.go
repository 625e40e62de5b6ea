package config

import (
	"errors"
	"fmt"
	"slices"

	"gopkg.in/yaml.v3"
)

// text returns a scalar with its variables replaced. Messages show the text of the
// file and not the values of variables, which may be secrets.
func (c *compose) text(key string, n *yaml.Node) (string, bool) {
	n = c.follow(n)
	s, ok := c.scalar(key, "text", n)
	if !ok {
		return "", false
	}
	if len(s) > textMax {
		c.report(n, longText, key, textMax)
		return "", false
	}
	value, err := interpolate(s, c.scope.get, textMax)
	if required := (requiredError{}); errors.As(err, &required) {
		c.report(n, unsetVariable, key, quote(required.name), quote(required.reason))
		return "", false
	}
	switch {
	case errors.Is(err, errTooLong):
		c.report(n, longText, key, textMax)
		return "", false
	case err != nil:
		c.report(n, badVariable, key, quote(s))
		return "", false
	}
	return value, true
}

// follow returns the node that an alias stands for. A node with the tag !reset is none.
func (c *compose) follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Tag == "!reset" {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column}
	}
	return n
}

func pick(fields []field, key string) (field, bool) {
	i := slices.IndexFunc(fields, func(f field) bool { return f.key.Value == key })
	if i < 0 {
		return field{}, false
	}
	return fields[i], true
}

// mappingOf returns the fields of a mapping. Those of merge keys come after its own,
// which have precedence.
func (c *compose) mappingOf(name string, n *yaml.Node, depth int) []field {
	n = c.follow(n)
	c.visits++
	switch {
	case isNull(n), c.visits > maxVisits+1:
		return nil
	case n.Kind != yaml.MappingNode:
		c.reportWrongType(fmt.Sprintf("%q", name), "a mapping (key: value)", n)
		return nil
	case depth > maxDepth:
		c.report(n, tooDeep)
		return nil
	}
	var all []field
	index := map[string]bool{}
	var merged []*yaml.Node
	for pair := range slices.Chunk(n.Content, 2) {
		if c.visits++; c.visits > maxVisits {
			if c.visits == maxVisits+1 {
				c.report(n, tooManyNodes)
			}
			return all
		}
		key, value := pair[0], pair[1]
		switch {
		case isMerge(key):
			merged = append(merged, value)
		case value.Tag == "!reset": // what is merged stays
		case key.Kind != yaml.ScalarNode:
			c.report(key, badKey, describe(key))
		case index[key.Value]:
			before, _ := pick(all, key.Value)
			c.report(key, duplicateKey, quote(key.Value), before.key.Line, before.key.Column)
		default:
			index[key.Value] = true
			all = append(all, field{key, value})
		}
	}
	for _, value := range merged {
		sources := []*yaml.Node{value}
		if list := c.follow(value); list.Kind == yaml.SequenceNode {
			sources = list.Content
		}
		for _, source := range sources {
			for _, f := range c.mappingOf("<<", source, depth+1) {
				if !index[f.key.Value] {
					index[f.key.Value] = true
					all = append(all, f)
				}
			}
		}
	}
	return all
}
