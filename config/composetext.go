package config

import (
	"errors"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// text returns a scalar with its variables replaced. Messages show the text of the
// file and not the values of variables, which may be secrets.
func (c *compose) text(key string, n *yaml.Node) (string, bool) {
	n = c.follow(n)
	s, ok := c.scalar(key, "text", n)
	if !ok || c.refused[n] {
		return "", false
	}
	if len(s) > textMax {
		c.report(n, longText, key, textMax)
		return "", false
	}
	value, err := interpolate(s, c.scope.get, textMax)
	if err != nil {
		c.reportVariable(key, n, err, textMax)
	}
	return value, err == nil
}

// words is text for a value that Compose does not take if it is a number or a boolean.
func (c *compose) words(key string, n *yaml.Node) (string, bool) {
	if n = c.follow(n); isNumberOrBool(n) {
		c.report(n, unquoted, key, quote(n.Value), describe(n))
		return "", false
	}
	return c.text(key, n)
}

func isNumberOrBool(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && slices.Contains([]string{"!!int", "!!float", "!!bool"}, n.Tag)
}

// reportVariable reports the error of a text that can't be interpolated.
func (c *compose) reportVariable(key string, n *yaml.Node, err error, limit int) {
	var required requiredError
	switch {
	case errors.As(err, &required):
		c.report(n, unsetVariable, key, quote(required.name), quote(required.reason))
	case errors.Is(err, errTooLong):
		c.report(n, longText, key, limit)
	default:
		c.report(n, badVariable, key, quote(n.Value))
	}
}

// untag removes the tags of Compose below a value with the tag !override: they have no
// effect there, nor have those of what is merged there.
func (c *compose) untag(n *yaml.Node) {
	for _, child := range n.Content {
		if child.Tag == "!reset" || child.Tag == "!override" {
			child.Tag = ""
		}
		c.untagged[child] = true
		c.untag(child)
	}
}

// prepare reports what makes Compose refuse a document, under whatever key: texts of
// which it can't replace the variables, keys that are no text, and values that contain
// themselves. key is the one above the node. Keys have no variables.
func (c *compose) prepare(key string, n *yaml.Node) {
	if n.Tag == "!override" {
		c.untag(n)
	}
	if n.Anchor != "" {
		c.open[n] = true
		defer delete(c.open, n)
	}
	switch {
	case n.Tag == "!reset", c.unchecked < 0:
	case n.Kind == yaml.AliasNode && c.open[n.Alias]:
		c.report(n, aliasCycle, quote(n.Value))
	case n.Kind == yaml.MappingNode:
		for pair := range slices.Chunk(n.Content, 2) {
			name := target(pair[0])
			if isNumberOrBool(name) || isNull(name) || name.Tag == "!!timestamp" {
				c.report(pair[0], unquotedKey, quote(name.Value))
			}
			c.prepare(name.Value, pair[1])
		}
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			c.prepare(key, item)
		}
	case n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "$"):
		value, err := interpolate(n.Value, c.scope.get, maxBytes)
		if c.unchecked -= len(n.Value) + len(value); c.unchecked < 0 {
			c.report(n, tooManyBytes)
			return
		}
		var required requiredError
		if err == nil || c.options.Withheld && errors.As(err, &required) {
			return
		}
		c.reportVariable(plain(key), n, err, maxBytes)
		c.refused[n] = true
	}
}
