package config

import (
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-connections/nat"
	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/port"
)

// compose is the state of parsing one Compose project.
type compose struct {
	reader
	options Options
	scope   *scope // of the file that is read
	project string
	active  []string // profiles
	bases   map[baseKey]*services

	included int             // entries of include
	full     bool            // no further file may be read
	envOf    map[string]bool // variables of needs

	refused   map[*yaml.Node]bool // texts with variables that have been reported
	untagged  map[*yaml.Node]bool // values in which tags have no effect
	open      map[*yaml.Node]bool // values with anchors, around the one that is prepared
	unchecked int                 // bytes of texts with variables that may still be checked
}

// isCompose reports whether a file is a Compose file by its name or its content.
func isCompose(file string, data []byte) bool {
	base := filepath.Base(file)
	if isManifestName(file) {
		return false
	}
	for _, pattern := range []string{"compose.y*ml", "compose.*.y*ml", "docker-compose.y*ml", "docker-compose.*.y*ml"} {
		if ok, _ := path.Match(pattern, base); ok {
			return true
		}
	}
	return hasTopKey(data, "services")
}

// parseCompose parses one Compose file, with the file .env beside it or the files of
// the options, and with those that Compose merges into it.
func parseCompose(file string, data []byte, o Options) (Manifest, []problem) {
	data, found := checkText(file, data)
	if found != nil {
		return Manifest{File: file}, found
	}
	docs, found := readDocuments(file, data)
	if len(docs) == 0 && len(found) == 0 {
		found = []problem{newProblem(Position{file, 1, 1}, emptyCompose)}
	}
	if o.spent == nil {
		o.spent = new(budget)
	}
	c := &compose{
		reader: newReader(file), options: o, bases: map[baseKey]*services{}, envOf: map[string]bool{},
		refused: map[*yaml.Node]bool{}, open: map[*yaml.Node]bool{}, untagged: map[*yaml.Node]bool{}, unchecked: maxAllBytes,
	}
	c.found, c.Compose = found, true
	if len(found) > 0 {
		return c.Manifest, c.found
	}
	main := &scope{file: file, dir: filepath.Dir(file)}
	c.addEnv(main)
	c.scope = main
	all := c.documents(main, docs)
	for _, name := range o.overrides[file] {
		docs, found := c.read(name, o.Bounds)
		c.found = append(c.found, found...)
		all = append(all, c.documents(main.of(name), docs)...)
	}
	c.active = o.Profiles
	if len(c.active) == 0 {
		value, _ := main.get("COMPOSE_PROFILES")
		c.active = strings.Split(value, ",")
	}
	c.project = c.projectName(all)
	c.App = c.project
	merged := newServices()
	for _, d := range all {
		c.enter(d.scope)
		if f, ok := pick(d.top, extensionKey); ok {
			c.top(f.value)
		}
		c.merge(merged, d, nil)
	}
	for _, name := range merged.names {
		if l := merged.byName[name]; l != nil {
			c.service(name, l)
		}
	}
	c.file = file
	if len(c.found) == 0 && len(c.Ports) == 0 && !o.found[file] {
		p := nonePublished
		if _, ok := pick(all[0].top, "ports"); ok && len(merged.names) == 0 {
			p = notCompose
		}
		c.found = append(c.found, newProblem(Position{file, 1, 1}, p))
	}
	return c.Manifest, withoutRepeats(c.found)
}

// withoutRepeats returns problems, each once: what several services extend is read for
// each of them.
func withoutRepeats(found []problem) []problem {
	seen := map[Problem]bool{}
	return slices.DeleteFunc(found, func(p problem) bool {
		again := seen[p.Problem]
		seen[p.Problem] = true
		return again
	})
}

// projectName returns the name of the project by Compose's own rules.
func (c *compose) projectName(all []document) string {
	file := all[0].file
	name := c.options.Project
	if name == "" {
		name, _ = all[0].get("COMPOSE_PROJECT_NAME")
	}
	last := ""
	for _, d := range all {
		c.enter(d.scope)
		if f, ok := pick(d.top, "name"); ok {
			if s, ok := c.words("name", f.value); ok && c.follow(f.value).Value != "" {
				last = s // even if its variables have no value
			}
		}
	}
	if name == "" {
		name = last
	}
	if name == "" {
		if abs, err := filepath.Abs(file); err == nil {
			name = filepath.Base(filepath.Dir(abs))
		}
	}
	project := projectOf(name)
	if project == "" || len(project) > labelMax {
		c.found = append(c.found, newProblem(Position{file, 1, 1}, badProject))
	}
	return project
}

// projectOf returns the name of a project as Compose normalizes it.
func projectOf(name string) string {
	return strings.TrimLeft(strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return -1
	}, strings.ToLower(name)), "_-")
}

// service reads the published ports of one service.
func (c *compose) service(name string, l *layer) {
	enabled := c.enabled(c.items(l, "profiles", "a list of profiles"))
	replicas := c.replicas(l, enabled)
	proto := Port{
		Expect: Free, Severity: c.severity, Owner: []Owner{{Compose: c.project + "/" + name}},
		Range: c.ranges, Exclude: c.exclude, Wait: c.wait, Allow: c.allow, Project: c.project, Replicas: max(0, replicas),
	}
	var env layer
	for _, v := range c.values(l, extensionKey) {
		c.enter(v.scope)
		if n := c.ofService(v.node, &proto); n != nil {
			env = layer{scope: v.scope, node: n}
		}
	}
	key, want, read := "ports", "a list of ports", c.publishedPort
	if c.onHost(l) {
		key, want, read = "expose", "a list of container ports", c.exposedPort
	}
	service := &Service{File: c.File, Name: name, OnHost: key == "expose"}
	var all []published
	for _, item := range c.items(l, key, want) {
		c.enter(item.scope)
		if len(all) > maxNeeds {
			c.report(item.node, tooManyNeeds)
			return
		}
		if c.total > maxPorts {
			return
		}
		p, ok := read(c.follow(item.node), proto)
		switch {
		case ok && slices.ContainsFunc(all, p.restates):
			continue
		case ok:
			p.Service, p.Entry = service, len(service.Ports)
			all = append(all, p)
		}
		service.Ports = append(service.Ports, p.long...)
	}
	if env.node != nil && len(all) > 1 {
		c.enter(env.scope)
		c.report(env.node, envOfSeveral, len(all))
	}
	if !enabled || replicas == none { // but Compose reports its errors, too
		return
	}
	for i := range all {
		if p := &all[i]; c.envOf[p.Env] {
			p.Env = ""
		} else {
			c.envOf[p.Env] = p.Env != ""
		}
	}
	c.add(name, all)
}

// onHost reports whether a service is in the host's network: what it exposes is bound
// there, and published ports have no effect.
func (c *compose) onHost(l *layer) bool {
	mode := ""
	for _, v := range c.values(l, "network_mode") {
		c.enter(v.scope)
		mode, _ = c.words("network_mode", v.node)
	}
	return mode == "host"
}

// none is the number of replicas of a service that Compose does not start.
const none = -1

// replicas returns how many containers of a service run: 0 if it does not say so.
func (c *compose) replicas(l *layer, enabled bool) int {
	n := c.deployed(l)
	scale := 0
	var at *yaml.Node
	for _, v := range c.values(l, "scale") { // the last one holds
		c.enter(v.scope)
		scale, at = c.count("scale", v.node), v.node
	}
	switch {
	case scale == 0:
		return n
	case n != 0 && n != scale && enabled:
		c.report(at, otherCount)
	}
	return scale
}

// deployed is replicas for deploy.replicas alone.
func (c *compose) deployed(l *layer) int {
	if c.visits++; c.visits > maxVisits { // values reports it
		return 0
	}
	n := 0
	for _, b := range l.below {
		if below := c.deployed(b); below != 0 {
			n = below
		}
	}
	if l.node == nil {
		return n
	}
	f, ok := pick(l.fields, "deploy")
	if slices.Contains(l.resets, "deploy") || ok && slices.Contains(c.resets(f.value, 4), "replicas") {
		n = 0
	}
	if !ok {
		return n
	}
	c.enter(l.scope)
	if replicas, ok := pick(c.mappingOf("deploy", f.value, 4), "replicas"); ok {
		n = c.count("replicas", replicas.value)
	}
	return n
}

// count reads a number of replicas. It returns 0 after it has added a problem.
func (c *compose) count(key string, v *yaml.Node) int {
	s, ok := c.text(key, v)
	n, err := strconv.Atoi(s)
	switch {
	case ok && (err != nil || n < 0):
		c.report(c.follow(v), badCount, key, quote(display(c.follow(v))))
	case ok && n == 0:
		return none
	case ok:
		return n
	}
	return 0
}

// publishedPort reads an entry of ports. It reports false if it publishes no fixed port.
func (c *compose) publishedPort(item *yaml.Node, p Port) (published, bool) {
	at, spec, named, ok := c.spec(item)
	if !ok {
		return published{}, false
	}
	mappings, wrong := parseSpec(spec)
	if wrong != "" {
		c.report(at, badSpec, quote(display(at)), wrong)
		return published{}, false
	}
	first, last := mappings[0], mappings[len(mappings)-1]
	block, ok := hostPorts(first.Binding.HostPort, last.Binding.HostPort)
	if !ok && len(mappings) == 1 {
		ok = p.chooseFrom(first.Binding.HostPort)
		block = p.Ports
	}
	address := port.Any
	if first.Binding.HostIP != "" {
		var err error
		if address, err = port.ParseAddress(first.Binding.HostIP); first.Binding.HostIP == "::" {
			address = port.Any6 // the engine makes one binding of each address that is written
		} else if err != nil {
			c.report(at, badSpec, quote(display(at)), oddAddress)
			return published{}, false
		}
	}
	p.Addresses = []port.Address{address}
	if first.Binding.HostPort == "" && c.options.Unfixed != nil && strings.Contains(c.follow(at).Value, "$") {
		c.options.Unfixed(c.at(at))
	}
	if p.Env == "" && ok && block.Len() == 1 {
		p.Env = c.variable(c.follow(at).Value, item.Kind == yaml.MappingNode)
	}
	need, ok := c.publish(at, p, block, mappings, ok)
	for _, m := range mappings {
		named.Target, named.Protocol = uint16(m.Port.Int()), m.Port.Proto()
		named.HostIP, named.Published = m.Binding.HostIP, m.Binding.HostPort
		need.long = append(need.long, named)
	}
	return need, ok
}

// exposedPort reads an entry of expose.
func (c *compose) exposedPort(item *yaml.Node, p Port) (published, bool) {
	spec, ok := c.text("expose", item)
	if !ok {
		return published{}, false
	}
	mappings, err := nat.ParsePortSpec(spec)
	if err != nil || strings.Contains(spec, ":") {
		c.report(item, badExpose, quote(display(item)))
		return published{}, false
	}
	first, last := mappings[0], mappings[len(mappings)-1]
	block, ok := hostPorts(first.Port.Port(), last.Port.Port())
	p.Addresses = []port.Address{port.Any}
	return c.publish(item, p, block, mappings, ok)
}

// enabled reports whether a service has no profile or one that is active.
func (c *compose) enabled(profiles []*layer) bool {
	for _, l := range profiles {
		c.enter(l.scope)
		s, ok := c.words("profiles", l.node)
		if ok && slices.ContainsFunc(c.active, func(a string) bool { a = strings.TrimSpace(a); return a == s || a == "*" }) {
			return true
		}
	}
	return len(profiles) == 0
}

// spec returns an entry of ports in the short syntax, with what that has no place for,
// and the node with its host port. It reports false for an entry that is not valid.
func (c *compose) spec(n *yaml.Node) (at *yaml.Node, spec string, named ServicePort, ok bool) {
	switch {
	case n.Kind == yaml.MappingNode:
		return c.long(n)
	case n.Kind != yaml.ScalarNode, isNull(n), n.Tag == "!!float", n.Tag == "!!bool":
		c.reportWrongType("ports", `a text such as "8080:80", or a mapping with target and published`, n)
		return nil, "", named, false
	}
	spec, ok = c.text("ports", n)
	if number := 0; ok && n.Tag == "!!int" && n.Decode(&number) == nil {
		spec = strconv.Itoa(number) // such as 0x50
	}
	return n, spec, named, ok
}

// variable returns the variable that is the whole host port of an entry, such as VAR
// in ${VAR:-8080}:80, or "".
func (c *compose) variable(text string, long bool) string {
	if !long {
		var parts []string
		start, open := 0, 0
		for i, r := range text {
			switch {
			case r == '{':
				open++
			case r == '}':
				open--
			case r == ':' && open == 0:
				parts = append(parts, text[start:i])
				start = i + 1
			}
		}
		if len(parts) == 0 {
			return ""
		}
		text = parts[len(parts)-1]
	}
	value, err := interpolate(text, c.scope.get, textMax)
	if _, bad := port.ParseRange(value); err != nil || bad != nil {
		return ""
	}
	s, ok := strings.CutPrefix(text, "$")
	if !ok {
		return ""
	}
	s, braced := strings.CutPrefix(s, "{")
	n := variableLen(s)
	name, rest := s[:n], s[n:]
	if !braced || rest == "}" {
		if braced != (rest == "}") || !braced && rest != "" {
			return ""
		}
		return name
	}
	end, ok := closingBrace(rest)
	if operator := strings.TrimPrefix(rest, ":"); !ok || end != len(rest)-1 || operator[0] == '+' {
		return ""
	}
	return name
}
