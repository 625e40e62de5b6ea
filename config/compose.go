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
	root, found := readYAML(file, data)
	if o.spent == nil {
		o.spent = new(budget)
	}
	c := &compose{reader: newReader(file), options: o, bases: map[baseKey]*services{}, envOf: map[string]bool{}}
	c.found = found
	if root == nil || len(found) > 0 {
		return c.Manifest, c.found
	}
	main := &scope{file: file, dir: filepath.Dir(file), get: o.getenv}
	c.addEnv(main)
	c.scope = main
	files := []*scope{main}
	roots := []*yaml.Node{root}
	for _, name := range o.overrides[file] {
		root, found := c.read(name, o.Bounds)
		c.found = append(c.found, found...)
		if root != nil {
			files, roots = append(files, main.of(name)), append(roots, root)
		}
	}
	c.active = o.Profiles
	if len(c.active) == 0 {
		value, _ := main.get("COMPOSE_PROFILES")
		c.active = strings.Split(value, ",")
	}
	tops := make([][]field, len(files))
	for i, s := range files {
		c.enter(s)
		tops[i] = c.mappingOf("", roots[i], 1)
	}
	c.project = c.projectName(files, tops)
	c.App = c.project
	all := newServices()
	for i, s := range files {
		c.enter(s)
		if f, ok := pick(tops[i], extensionKey); ok {
			c.top(f.value)
		}
		c.merge(all, tops[i], nil)
	}
	for _, name := range all.names {
		if l := all.byName[name]; l != nil {
			c.service(name, l)
		}
	}
	c.file = file
	if len(c.found) == 0 && len(c.Ports) == 0 && !o.found[file] {
		c.found = append(c.found, newProblem(Position{file, 1, 1}, nonePublished))
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
func (c *compose) projectName(files []*scope, tops [][]field) string {
	file := files[0].file
	name := c.options.Project
	if name == "" {
		name, _ = files[0].get("COMPOSE_PROJECT_NAME")
	}
	for i := len(files) - 1; i >= 0 && name == ""; i-- {
		c.enter(files[i])
		if f, ok := pick(tops[i], "name"); ok {
			name, _ = c.text("name", f.value)
		}
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
	proto := Port{
		Expect: Free, Severity: c.severity, Owner: []Owner{{Compose: c.project + "/" + name}},
		Range: c.ranges, Exclude: c.exclude, Wait: c.wait, Allow: c.allow, Project: c.project, Replicas: c.replicas(l),
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
		if ok && !slices.ContainsFunc(all, p.restates) {
			all = append(all, p)
		}
	}
	if env.node != nil && len(all) > 1 {
		c.enter(env.scope)
		c.report(env.node, envOfSeveral, len(all))
	}
	if !c.enabled(c.items(l, "profiles", "a list of profiles")) { // but Compose reports its errors, too
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
		mode, _ = c.text("network_mode", v.node)
	}
	return mode == "host"
}

// replicas returns how many containers of a service run, if it says so, else 0.
func (c *compose) replicas(l *layer) int {
	n := 0
	number := func(key string, v *yaml.Node) {
		s, ok := c.text(key, v)
		if !ok {
			return
		}
		count, err := strconv.Atoi(s)
		if err != nil || count < 0 {
			c.report(c.follow(v), badCount, key, quote(display(c.follow(v))))
			return
		}
		n = count
	}
	for _, v := range c.values(l, "scale") {
		c.enter(v.scope)
		number("scale", v.node)
	}
	for _, v := range c.values(l, "deploy") {
		c.enter(v.scope)
		fields := c.mappingOf("deploy", v.node, 4)
		if f, ok := pick(fields, "replicas"); ok && !isNull(c.follow(f.value)) {
			number("replicas", f.value)
		}
	}
	return n
}

// publishedPort reads an entry of ports. It reports false if it publishes no fixed port.
func (c *compose) publishedPort(item *yaml.Node, p Port) (published, bool) {
	at, spec, ok := c.spec(item)
	if !ok {
		return published{}, false
	}
	mappings, err := nat.ParsePortSpec(spec)
	if err != nil {
		c.report(at, badSpec, quote(display(at)))
		return published{}, false
	}
	first, last := mappings[0], mappings[len(mappings)-1]
	block, ok := hostPorts(first.Binding.HostPort, last.Binding.HostPort)
	address := port.Any
	if first.Binding.HostIP != "" {
		if address, err = port.ParseAddress(first.Binding.HostIP); first.Binding.HostIP == "::" {
			address = port.Any6 // the engine makes one binding of each address that is written
		} else if err != nil {
			c.report(at, badSpec, quote(display(at)))
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
	return c.publish(at, p, block, mappings, ok)
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
		s, ok := c.text("profiles", l.node)
		if ok && slices.ContainsFunc(c.active, func(a string) bool { a = strings.TrimSpace(a); return a == s || a == "*" }) {
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
	if _, bad := port.ParseNumber(value); err != nil || bad != nil {
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
