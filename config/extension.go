package config

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// extensionKey is the key of a Compose file with what only portcheck reads.
const extensionKey = "x-portcheck"

// top reads x-portcheck at the top of a Compose file.
func (c *compose) top(n *yaml.Node) {
	if n = c.resolve(n, 2); n == nil {
		return
	}
	c.mapping(extensionKey, "", n, []entry{
		{"host", into(&c.Host, c.label)},
		{"range", into(&c.ranges, c.ports)},
		{"exclude", into(&c.exclude, c.portsOrNone)},
		{"wait", into(&c.wait, c.duration)},
		{"allow", into(&c.allow, c.notices)},
		{"targets", c.readTargets},
	})
}

// ofService reads x-portcheck of a service into what its needs have in common. It
// returns the node with the name of a variable, or nil.
func (c *compose) ofService(n *yaml.Node, p *Port) *yaml.Node {
	if n = c.resolve(n, 4); n == nil {
		return nil
	}
	fields := c.mapping(extensionKey, "", n, []entry{
		{"range", into(&p.Range, c.ports)},
		{"severity", into(&p.Severity, c.severityWord)},
		{"env", into(&p.Env, c.manifest.env)},
		{"owner", into(&p.Owner, c.ownerList)},
		{"expect", into(&p.Expect, func(key string, n *yaml.Node) (Expect, bool) {
			return word(&c.walker, key, n, []Expect{Free, Listening}) // reachable needs a remote
		})},
	})
	return fields["env"].value
}

// resolve returns a copy of a value without aliases and merge keys. It reports and
// leaves out what would be read in another way than it is meant.
func (c *compose) resolve(n *yaml.Node, depth int) *yaml.Node {
	n = c.follow(n)
	resolved := *n
	resolved.Content, resolved.Anchor = nil, ""
	switch {
	case n.Style&yaml.TaggedStyle != 0 && n.Tag != "!override":
		c.report(n, hasTag)
		return nil
	case n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "$"):
		c.report(n, notInExtension, quote(n.Value))
		return nil
	case n.Kind != yaml.ScalarNode && depth > maxDepth:
		c.report(n, tooDeep)
		return nil
	case n.Kind == yaml.MappingNode:
		for _, f := range c.mappingOf(extensionKey, n, depth) {
			if value := c.resolve(f.value, depth+1); value != nil {
				resolved.Content = append(resolved.Content, f.key, value)
			}
		}
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			if c.visits++; c.visits > maxVisits {
				if c.visits == maxVisits+1 {
					c.report(n, tooManyNodes)
				}
				break
			}
			if item := c.resolve(item, depth+1); item != nil {
				resolved.Content = append(resolved.Content, item)
			}
		}
	}
	return &resolved
}
