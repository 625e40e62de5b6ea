package config

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-connections/nat"
	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/port"
)

// maxVisits is the number of nodes that are visited in a Compose file, those behind
// aliases each time.
const maxVisits = 100_000

// compose is the state of parsing one Compose file.
type compose struct {
	manifest
	getenv  func(name string) (string, bool)
	env     map[string]string // of the file .env
	project string
	visits  int
	total   int             // of ports
	taken   map[string]bool // names of needs
}

// isCompose reports whether a file is a Compose file by its name or its content.
func isCompose(file string, data []byte) bool {
	base := filepath.Base(file)
	if slices.Contains([]string{"portcheck.yml", "portcheck.yaml", ".portcheck.yml", ".portcheck.yaml"}, base) {
		return false
	}
	for _, pattern := range []string{"compose.y*ml", "compose.*.y*ml", "docker-compose.y*ml", "docker-compose.*.y*ml"} {
		if ok, _ := path.Match(pattern, base); ok {
			return true
		}
	}
	return bytes.HasPrefix(data, []byte("services:")) || bytes.Contains(data, []byte("\nservices:"))
}

// parseCompose parses one Compose file, with the file .env beside it, and with the
// override of the options.
func parseCompose(file string, data []byte, o Options) (Manifest, []problem) {
	data, found := checkText(file, data)
	if found != nil {
		return Manifest{File: file}, found
	}
	root, found := readYAML(file, data)
	c := &compose{manifest: newManifest(file, found), getenv: o.getenv, taken: map[string]bool{}}
	if root == nil || len(found) > 0 {
		return c.Manifest, c.found
	}
	if file != stdinName {
		c.env, found = readDotEnv(filepath.Dir(file), o)
		c.found = append(c.found, found...)
	}
	roots := []layer{{file, root}}
	if o.Override != "" {
		root, found := readOverride(o)
		c.found = append(c.found, found...)
		if root != nil {
			roots = append(roots, layer{o.Override, root})
		}
	}
	tops := make([][]field, len(roots))
	for i, l := range roots {
		c.file = l.file
		tops[i] = c.mappingOf("", l.node, 1)
	}
	c.project = c.projectName(roots, tops)
	c.App = c.project
	var names []string
	services := map[string][]layer{}
	for i, l := range roots {
		c.file = l.file
		fields := tops[i]
		if f, ok := pick(fields, "include"); ok {
			c.report(f.key, notFollowed, "include")
		}
		if f, ok := pick(fields, extensionKey); ok {
			c.top(f.value)
		}
		all, ok := pick(fields, "services")
		if !ok {
			continue
		}
		for _, f := range c.mappingOf("services", all.value, 2) {
			name := f.key.Value
			if len(name) > nameMax || !isName(strings.ToLower(name)) {
				c.report(f.key, badService, quote(name))
				continue
			}
			if services[name] == nil {
				names = append(names, name)
			}
			if c.follow(f.value).Tag == "!override" {
				services[name] = nil
			}
			services[name] = append(services[name], layer{l.file, f.value})
		}
	}
	for _, name := range names {
		c.service(name, services[name])
	}
	c.file = file
	if len(c.found) == 0 && len(c.Ports) == 0 {
		c.found = append(c.found, newProblem(Position{file, 1, 1}, nonePublished))
	}
	return c.Manifest, c.found
}

// lookup returns a variable of the environment or of the file .env.
func (c *compose) lookup(name string) (string, bool) {
	if v, ok := c.getenv(name); ok {
		return v, true
	}
	v, ok := c.env[name]
	return v, ok
}

// projectName returns the name of the project by Compose's own rules.
func (c *compose) projectName(roots []layer, tops [][]field) string {
	file := roots[0].file
	name, _ := c.lookup("COMPOSE_PROJECT_NAME")
	for i := len(roots) - 1; i >= 0 && name == ""; i-- {
		c.file = roots[i].file
		if f, ok := pick(tops[i], "name"); ok {
			name, _ = c.text("name", f.value)
		}
	}
	if name == "" {
		if abs, err := filepath.Abs(file); err == nil {
			name = filepath.Base(filepath.Dir(abs))
		}
	}
	project := strings.TrimLeft(strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return -1
	}, strings.ToLower(name)), "_-")
	if project == "" || len(project) > labelMax {
		c.found = append(c.found, newProblem(Position{file, 1, 1}, badProject))
	}
	return project
}

// layer is a value in one of the files that are merged.
type layer struct {
	file string
	node *yaml.Node
}

// readOverride returns the content of the override of the options.
func readOverride(o Options) (*yaml.Node, []problem) {
	data, left, found := readFile(o.Override, o.Bounds)
	var root *yaml.Node
	if found == nil {
		data, found = checkText(o.Override, data)
	}
	if found == nil {
		root, found = readYAML(o.Override, data)
	}
	if left != nil { // nothing of it may be shown, so it is not read
		return nil, []problem{newProblem(Position{File: o.Override}, leavesBounds, quotePath(left.String()))}
	}
	if len(found) > 0 {
		return nil, found
	}
	return root, nil
}

// isReset reports whether a mapping has a key with the tag !reset, which takes away
// what the files before have.
func (c *compose) isReset(n *yaml.Node, key string) bool {
	n = c.follow(n)
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key && n.Content[i+1].Tag == "!reset" {
			return true
		}
	}
	return false
}

// mergedList returns the items of a list of a service: those of all files, from the
// last one on that replaces the others.
func (c *compose) mergedList(layers []layer, fields [][]field, key, want string) []layer {
	var all []layer
	for i, l := range layers {
		c.file = l.file
		if c.isReset(l.node, key) {
			all = nil
		}
		f, ok := pick(fields[i], key)
		if !ok {
			continue
		}
		list := c.follow(f.value)
		switch {
		case isNull(list):
			continue
		case list.Kind != yaml.SequenceNode:
			c.reportWrongType(key, want, list)
			continue
		case list.Tag == "!override":
			all = nil
		}
		for _, item := range list.Content {
			all = append(all, layer{l.file, item})
		}
	}
	return all
}

// service reads the published ports of one service.
func (c *compose) service(name string, layers []layer) {
	fields := make([][]field, len(layers))
	for i, l := range layers {
		c.file = l.file
		fields[i] = c.mappingOf("services."+plain(name), l.node, 3)
		if e, ok := pick(fields[i], "extends"); ok {
			c.report(e.key, notFollowed, "extends")
		}
	}
	proto := Port{
		Expect: Free, Severity: c.severity, Owner: []Owner{{Compose: c.project + "/" + name}},
		Range: c.ranges, Exclude: c.exclude, Wait: c.wait, Allow: c.allow,
	}
	var env *yaml.Node
	for i, l := range layers {
		c.file = l.file
		if f, ok := pick(fields[i], extensionKey); ok {
			if n := c.ofService(f.value, &proto); n != nil {
				env = n
			}
		}
	}
	envFile := c.file
	type published struct {
		Port
		target string
	}
	var all []published
	for _, l := range c.mergedList(layers, fields, "ports", "a list of ports") {
		c.file = l.file
		item := l.node
		if len(all) > maxNeeds {
			c.report(item, tooManyNeeds)
			return
		}
		if c.total > maxPorts {
			return
		}
		item = c.follow(item)
		at, spec, ok := c.spec(item)
		if !ok {
			continue
		}
		mappings, err := nat.ParsePortSpec(spec)
		if err != nil {
			c.report(at, badSpec, quote(display(at)))
			continue
		}
		if c.total += len(mappings); c.total > maxPorts {
			c.report(at, tooManyPorts)
			return
		}
		first, last := mappings[0], mappings[len(mappings)-1]
		block, ok := hostPorts(first.Binding.HostPort, last.Binding.HostPort)
		protocol := port.Protocol(first.Port.Proto())
		if !ok || !slices.Contains(port.Protocols, protocol) {
			continue
		}
		address := port.Any
		if first.Binding.HostIP != "" {
			if address, err = port.ParseAddress(first.Binding.HostIP); err != nil {
				c.report(at, badSpec, quote(display(at)))
				continue
			}
		}
		p := published{target: first.Port.Port(), Port: proto}
		p.At, p.Ports, p.Protocols, p.Addresses = c.at(at), block, []port.Protocol{protocol}, []port.Address{address}
		if !slices.ContainsFunc(all, func(o published) bool {
			return o.target == p.target && o.Ports == p.Ports && o.Protocols[0] == protocol && o.Addresses[0] == address
		}) {
			all = append(all, p)
		}
	}
	if env != nil && len(all) > 1 {
		c.file = envFile
		c.report(env, envOfSeveral, len(all))
	}
	if !c.enabled(c.mergedList(layers, fields, "profiles", "a list of profiles")) { // but Compose reports its errors, too
		return
	}
	for _, p := range all {
		p.Name = name
		if len(all) > 1 {
			p.Name += "-" + p.target
		}
		p.Name = c.unused(p.Name, string(p.Protocols[0]))
		c.Ports = append(c.Ports, p.Port)
	}
}

// unused returns a name that no earlier need has.
func (c *compose) unused(name, protocol string) string {
	if c.taken[name] {
		name += "-" + protocol
	}
	unique := name
	for i := 2; c.taken[unique]; i++ {
		unique = name + "-" + strconv.Itoa(i)
	}
	c.taken[unique] = true
	return unique
}

// enabled reports whether a service has no profile or one that is active.
func (c *compose) enabled(profiles []layer) bool {
	value, _ := c.lookup("COMPOSE_PROFILES")
	active := strings.Split(value, ",")
	for i := range active {
		active[i] = strings.TrimSpace(active[i])
	}
	for _, l := range profiles {
		c.file = l.file
		if s, ok := c.text("profiles", l.node); ok && (slices.Contains(active, s) || slices.Contains(active, "*")) {
			return true
		}
	}
	return len(profiles) == 0
}

// spec returns an entry of ports in the short syntax, and the node with its host port.
// It reports false for an entry that publishes no fixed port.
func (c *compose) spec(n *yaml.Node) (*yaml.Node, string, bool) {
	if n.Kind == yaml.ScalarNode {
		s, ok := c.text("ports", n)
		return n, s, ok && n.Tag != "!!int"
	}
	if n.Kind != yaml.MappingNode {
		c.reportWrongType("ports", `a text such as "8080:80", or a mapping with target and published`, n)
		return nil, "", false
	}
	fields := c.mappingOf("ports", n, 4)
	published, ok := pick(fields, "published")
	if !ok {
		return nil, "", false
	}
	at := c.follow(published.value)
	if _, ok := pick(fields, "target"); !ok {
		c.report(n, noContainerPort)
		return nil, "", false
	}
	texts := map[string]string{}
	for _, f := range fields {
		switch key := f.key.Value; key {
		case extensionKey:
			c.report(f.key, misplacedExtension)
		case "published", "target", "host_ip", "protocol":
			s, ok := c.text(key, f.value)
			if !ok {
				return nil, "", false
			}
			texts[key] = s
		}
	}
	if texts["published"] == "" {
		return nil, "", false
	}
	if ip := texts["host_ip"]; strings.Contains(ip, ":") && !strings.HasPrefix(ip, "[") {
		texts["host_ip"] = "[" + ip + "]"
	}
	spec := texts["published"] + ":" + texts["target"]
	if ip := texts["host_ip"]; ip != "" {
		spec = ip + ":" + spec
	}
	if protocol := texts["protocol"]; protocol != "" {
		spec += "/" + protocol
	}
	return at, spec, true
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
	value, err := interpolate(s, c.lookup, textMax)
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
