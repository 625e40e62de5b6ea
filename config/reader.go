package config

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/docker/go-connections/nat"
	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/port"
)

// maxVisits is the number of nodes of a file that are visited, those behind aliases
// each time.
const maxVisits = 100_000

// reader reads files with published ports, in which aliases and merge keys are allowed.
type reader struct {
	manifest
	visits int
	total  int             // of ports
	taken  map[string]bool // names of needs
}

func newReader(file string) reader {
	return reader{manifest: newManifest(file, nil), taken: map[string]bool{}}
}

// published is a need of a service with the container's port.
type published struct {
	Port
	target string
	long   []ServicePort // the entry, which may be a block
}

// restates reports whether another entry, which may be a block, publishes the same.
func (p published) restates(o published) bool {
	if p.Auto || o.Auto {
		return p.Auto && o.Auto && p.Range[0] == o.Range[0] && p.target == o.target && p.sharesSocket(o)
	}
	a, err := strconv.Atoi(p.target)
	b, err2 := strconv.Atoi(o.target)
	return err == nil && err2 == nil && int(p.Ports.First)-a == int(o.Ports.First)-b && o.Ports.First <= p.Ports.First && p.Ports.Last <= o.Ports.Last && p.sharesSocket(o)
}

// sharesSocket reports whether two entries with one port have one socket.
func (p published) sharesSocket(o published) bool {
	return o.Protocols[0] == p.Protocols[0] && allIPv4(o.Addresses[0]) == allIPv4(p.Addresses[0])
}

// allIPv4 returns an address of IPv4 for no host IP: with it or with 0.0.0.0, Compose
// takes an entry for the same.
func allIPv4(a port.Address) port.Address {
	if a == port.Any {
		return port.Any4
	}
	return a
}

// add adds the needs of what has a name.
func (r *reader) add(name string, all []published) {
	for _, p := range all {
		p.Name = name
		if len(all) > 1 {
			p.Name += "-" + p.target
		}
		p.Name = r.unused(p.Name, string(p.Protocols[0]))
		r.Ports = append(r.Ports, p.Port)
	}
}

// unused returns a name that no earlier need has.
func (r *reader) unused(name, protocol string) string {
	if r.taken[name] {
		name += "-" + protocol
	}
	unique := name
	for i := 2; r.taken[unique]; i++ {
		unique = name + "-" + strconv.Itoa(i)
	}
	r.taken[unique] = true
	return unique
}

// publish returns the need of an entry. It reports false if the entry has none.
func (r *reader) publish(at *yaml.Node, p Port, block port.Range, mappings []nat.PortMapping, fixed bool) (published, bool) {
	if r.total += len(mappings); r.total > maxPorts {
		r.report(at, tooManyPorts)
		return published{}, false
	}
	protocol := port.Protocol(mappings[0].Port.Proto())
	if number, err := port.ParseNumber(mappings[0].Port.Port()); err == nil && block.Len() == 1 {
		p.Container = number
	}
	p.At, p.Ports, p.Protocols = r.at(at), block, []port.Protocol{protocol}
	return published{Port: p, target: mappings[0].Port.Port()}, fixed && slices.Contains(port.Protocols, protocol)
}

// hostPorts returns the block from the first to the last host port. It reports false
// if the engine chooses the port: of a range, or any.
func hostPorts(first, last string) (port.Range, bool) {
	if first == "" || first == "0" {
		return port.Range{}, false
	}
	a, err := port.ParseNumber(first)
	b, err2 := port.ParseNumber(last)
	return port.Range{First: a, Last: b}, err == nil && err2 == nil
}

// chooseFrom makes the need an auto of a range from which the engine chooses the host
// port. It reports false if the text is no such range, or if the need looks at a port.
func (p *Port) chooseFrom(text string) bool {
	r, err := port.ParseRange(text)
	if err != nil || p.Expect != Free {
		return false
	}
	p.Auto, p.Ports, p.Range, p.Exclude = true, port.One(r.First), port.Set{r}, nil
	return true
}

// target returns the node that an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// follow is target for a value. A node with the tag !reset is none.
func (r *reader) follow(n *yaml.Node) *yaml.Node {
	if n = target(n); n.Tag == "!reset" {
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
func (r *reader) mappingOf(name string, n *yaml.Node, depth int) []field {
	n = r.follow(n)
	r.visits++
	switch {
	case isNull(n), r.visits > maxVisits+1:
		return nil
	case n.Kind != yaml.MappingNode:
		r.reportWrongType(fmt.Sprintf("%q", name), "a mapping (key: value)", n)
		return nil
	case depth > maxDepth:
		r.report(n, tooDeep)
		return nil
	}
	var all []field
	index := map[string]bool{}
	var merged []*yaml.Node
	for pair := range slices.Chunk(n.Content, 2) {
		if r.visits++; r.visits > maxVisits {
			if r.visits == maxVisits+1 {
				r.report(n, tooManyNodes)
			}
			return all
		}
		key, value := pair[0], pair[1]
		switch {
		case isMerge(key):
			merged = append(merged, value)
		case target(value).Tag == "!reset": // what is merged stays
		case key.Kind != yaml.ScalarNode:
			r.report(key, badKey, describe(key))
		case index[key.Value]:
			before, _ := pick(all, key.Value)
			r.report(key, duplicateKey, quote(key.Value), before.key.Line, before.key.Column)
		default:
			index[key.Value] = true
			all = append(all, field{key, value})
		}
	}
	for _, value := range merged {
		sources := []*yaml.Node{value}
		if list := r.follow(value); list.Kind == yaml.SequenceNode {
			sources = list.Content
		}
		for _, source := range sources {
			for _, f := range r.mappingOf("<<", source, depth+1) {
				if !index[f.key.Value] {
					index[f.key.Value] = true
					all = append(all, f)
				}
			}
		}
	}
	return all
}
