package config

import (
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/internal/within"
)

// scope is what the nodes of one file of a project have in common.
type scope struct {
	file string
	dir  string // to which the names of further files are relative
	get  lookup // of its variables
	env  int    // the number of those variables
}

// of returns the scope of another file in the same place.
func (s *scope) of(file string) *scope { return &scope{file, s.dir, s.get, s.env} }

// enter makes a scope that of what is read next.
func (c *compose) enter(s *scope) { c.scope, c.file = s, s.file }

// document is one of a file. Compose merges them as if each were a file.
type document struct {
	*scope
	top    []field
	resets []string // keys at the top of which it takes away what is before
}

func (c *compose) documents(s *scope, roots []*yaml.Node) []document {
	c.enter(s)
	all := make([]document, len(roots))
	for i, root := range roots {
		switch {
		case isNull(root):
			c.report(root, emptyDocument)
		case root.Kind != yaml.MappingNode:
			c.report(root, notAComposeFile, describe(root))
			all[i] = document{scope: s}
			continue
		}
		c.prepare("", root)
		all[i] = document{s, c.mappingOf("", root, 1), c.resets(root, 1)}
	}
	return all
}

// read returns the documents of a further file of the project. There are none in an
// empty file, which adds nothing.
func (c *compose) read(file string, bounds []within.Dir) ([]*yaml.Node, []problem) {
	at := Position{File: file}
	spent := c.options.spent
	switch spent.files++; {
	case spent.files > maxFiles:
		return nil, []problem{newProblem(at, tooManyFiles)}
	case spent.bytes > maxAllBytes:
		return nil, []problem{newProblem(at, tooManyBytes)}
	}
	data, left, found := c.options.readFile(file, bounds)
	if len(found) > 0 {
		return nil, found
	}
	if left != nil { // nothing of it may be shown, so it is not read
		return nil, []problem{newProblem(at, leavesBounds, quotePath(left.String()))}
	}
	spent.bytes += len(data)
	if marks, err := effort(data); err == nil { // otherwise it is refused before it takes any
		if spent.marks += marks; spent.marks > maxAllMarks {
			return nil, []problem{newProblem(at, tooManyMarksRun)}
		}
	}
	if data, found = checkText(file, data); found != nil {
		return nil, found
	}
	return readDocuments(file, data)
}

// further returns the path of a file that the project names at a node, and the bounds
// to read it with. In CI the file has to be in the checkout or below the project's
// directory. It reports false after it has added a problem.
func (c *compose) further(key string, at *yaml.Node, dir, name string) (string, []within.Dir, bool) {
	remote := strings.Contains(name, "://") || strings.HasPrefix(name, "oci:") || strings.HasPrefix(name, "git@")
	if remote || c.File == stdinName {
		c.report(at, notFollowed, key)
		return "", nil, false
	}
	file := filepath.Clean(filepath.FromSlash(name))
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	bounds := c.options.Bounds
	if len(bounds) > 0 {
		if project, err := within.New(filepath.Dir(c.File)); err == nil {
			bounds = append(slices.Clip(bounds), project)
		}
		if !mayRead(filepath.Dir(file), bounds) {
			c.report(at, outOfProject, key, quotePath(c.follow(at).Value))
			return "", nil, false
		}
	}
	if (key == "include" || key == "extends") && c.options.named != nil {
		c.options.named[file] = c.File
	}
	if own, ok := within.Own(c.File); ok && c.options.outside != nil {
		if _, inside := own.Rel(file); !inside {
			c.options.outside[file] = &own
		}
	}
	return file, bounds, true
}

// addNamed adds the problems of a file that a node names: those of the whole file at the
// node, with the text that is written there and not the values of its variables.
func (c *compose) addNamed(key string, n *yaml.Node, found []problem) {
	for _, p := range found {
		switch {
		case slices.Contains([]kind{tooManyFiles, tooManyBytes, tooManyMarksRun}, p.kind):
			if c.full {
				return
			}
			c.full = true
			p = newProblem(c.at(n), p.kind)
		case p.Line == 0:
			p = newProblem(c.at(n), namedFile, key, quotePath(c.follow(n).Value), p.Message)
		}
		c.found = append(c.found, p)
	}
}

// addEnv adds to the variables of the main file those of files: of the directory in
// which Compose would be started, then of the file's own.
func (c *compose) addEnv(s *scope) {
	var dirs []string
	if dir, ok := c.options.from[s.file]; ok && filepath.Clean(dir) != s.dir {
		dirs = append(dirs, dir)
	}
	if s.file != stdinName {
		dirs = append(dirs, s.dir)
	}
	var found []problem
	s.get, found = c.options.projectEnv(dirs...)
	c.found = append(c.found, found...)
}

// services are those of one file, or of several that are merged.
type services struct {
	names  []string          // in order
	byName map[string]*layer // nil: removed
	broken bool              // there may be more, which could not be read
}

func newServices() *services { return &services{byName: map[string]*layer{}} }

func (s *services) set(name string, l *layer) {
	if _, known := s.byName[name]; !known {
		s.names = append(s.names, name)
	}
	s.byName[name] = l
}

func (s *services) remove(name string) {
	if _, known := s.byName[name]; known {
		s.byName[name] = nil
	}
}

// layer is a value in one of the files that are merged: a service, or one in it.
type layer struct {
	*scope
	node   *yaml.Node // nil if only others define it
	fields []field
	below  []*layer // into which it is merged, the first one at the bottom
	resets []string // keys of which it takes away what other files have
	based  bool     // what it extends is in below, if there is such a service
	busy   bool     // while that is looked for
}

// own returns the services that a document itself defines, and the names of those that
// it removes from all before.
func (c *compose) own(d document, before *services) (all *services, removed []string) {
	all = newServices()
	if slices.Contains(d.resets, "services") {
		removed = before.names
	}
	f, ok := pick(d.top, "services")
	if !ok {
		return all, removed
	}
	for _, s := range c.mappingOf("services", f.value, 2) {
		name := s.key.Value
		if len(name) > nameMax || !isName(strings.ToLower(name)) {
			c.report(s.key, badService, quote(name))
			continue
		}
		n := c.follow(s.value)
		all.set(name, &layer{scope: c.scope, node: n, fields: c.mappingOf("services."+plain(name), n, 3), resets: c.resets(n, 3)})
	}
	return all, append(slices.Clip(removed), c.resets(f.value, 2)...)
}

// merge adds the services of a document, with those that it includes and extends. The
// files of including include it.
func (c *compose) merge(all *services, d document, including []string) {
	s := d.scope
	c.enter(s)
	own, removed := c.own(d, all)
	if f, ok := pick(d.top, "include"); ok {
		c.includeAll(own, f.value, append(slices.Clip(including), s.file))
	}
	for _, name := range own.names {
		c.extend(own, own.byName[name], 1)
	}
	all.addLayers(own, removed)
	c.enter(s)
}

// addLayers merges the services of a document into those of the documents before.
func (s *services) addLayers(own *services, removed []string) {
	for _, name := range removed {
		s.remove(name)
	}
	for _, name := range own.names {
		l := *own.byName[name] // the services that extend it don't get what is below
		if before := s.byName[name]; before != nil {
			l.below = append([]*layer{before}, l.below...)
		}
		s.set(name, &l)
	}
}

// includeAll adds the services of the files that include lists.
func (c *compose) includeAll(own *services, n *yaml.Node, including []string) {
	n = c.follow(n)
	switch {
	case isNull(n):
		return
	case n.Kind != yaml.SequenceNode:
		c.reportWrongType("include", "a list of files", n)
		return
	}
	s := c.scope
	for _, item := range n.Content {
		if c.full {
			return
		}
		for _, imported := range c.include(c.follow(item), including) {
			for _, name := range imported.names {
				if imported.byName[name] == nil {
					continue
				}
				l := own.byName[name]
				if l == nil {
					l = &layer{scope: s}
					own.set(name, l)
				}
				l.below = append([]*layer{imported.byName[name]}, l.below...)
			}
		}
		c.enter(s)
	}
}

// include returns the services of one entry of include.
func (c *compose) include(item *yaml.Node, including []string) []*services {
	s := c.scope
	var paths, envFiles []*yaml.Node
	dir := ""
	if item.Kind == yaml.ScalarNode {
		paths = []*yaml.Node{item}
	} else {
		for _, f := range c.mappingOf("include", item, 3) {
			switch f.key.Value {
			case "path":
				paths = c.oneOrMore(f.value)
			case "env_file":
				envFiles = c.oneOrMore(f.value)
			case "project_directory":
				name, ok := c.text("project_directory", f.value)
				if !ok {
					return nil
				}
				if name == "" { // as without the key
					continue
				}
				env, _, ok := c.further("project_directory", f.value, s.dir, filepath.Join(name, ".env"))
				if !ok {
					return nil
				}
				dir = filepath.Dir(env)
			}
		}
		if len(paths) == 0 && item.Kind == yaml.MappingNode {
			c.report(item, noIncludePath)
		}
	}
	all := newServices()
	get, env := s.get, s.env
	for i, n := range paths {
		c.enter(s)
		name, ok := c.text("include", n)
		if !ok {
			return nil
		}
		file, bounds, ok := c.further("include", n, s.dir, name)
		switch {
		case !ok:
			return nil
		case slices.Contains(including, file):
			c.report(n, includeCycle, quotePath(c.follow(n).Value))
			return nil
		case len(including) > maxDepth:
			c.report(n, tooDeep)
			return nil
		}
		if i == 0 {
			if dir == "" {
				dir = filepath.Dir(file)
			}
			if get, ok = c.includedEnv(envFiles, dir); !ok {
				return nil
			}
			c.included++
			env = c.included
		}
		docs, found := c.read(file, bounds)
		c.addNamed("include", n, found)
		if len(found) > 0 {
			return nil
		}
		for _, d := range c.documents(&scope{file, dir, get, env}, docs) {
			c.merge(all, d, including)
		}
	}
	return []*services{all}
}

// includedEnv returns the variables of files that are included: those of the files
// that include, then of the files that are named, else of the file .env in dir.
func (c *compose) includedEnv(envFiles []*yaml.Node, dir string) (lookup, bool) {
	s := c.scope
	var names []string
	var nodes []*yaml.Node
	o := c.options
	for _, n := range envFiles {
		name, ok := c.text("env_file", n)
		if !ok {
			return nil, false
		}
		if name == "/dev/null" {
			continue
		}
		file, inside, ok := c.further("env_file", n, s.dir, name)
		if !ok {
			return nil, false
		}
		names, nodes, o.Bounds = append(names, file), append(nodes, n), inside
	}
	var env map[string]string
	var found []problem
	switch {
	case len(names) > 0:
		env, found = readEnvFiles(names, o, s.get)
		for _, p := range found {
			c.addNamed("env_file", nodes[max(0, slices.Index(names, p.File))], []problem{p})
		}
		return s.get.or(env), len(found) == 0
	case len(envFiles) == 0 && (len(o.Bounds) == 0 || mayRead(dir, o.Bounds)):
		env, found = readDotEnv(dir, o, s.get)
	}
	c.found = append(c.found, found...)
	return s.get.or(env), len(found) == 0
}

// oneOrMore returns the items of a list, or the node itself.
func (c *compose) oneOrMore(n *yaml.Node) []*yaml.Node {
	n = c.follow(n)
	switch {
	case isNull(n):
		return nil
	case n.Kind == yaml.SequenceNode:
		return n.Content
	}
	return []*yaml.Node{n}
}

// baseKey names a file that services extend, with the variables that they do it with.
type baseKey struct {
	file string
	env  int
}

// extend adds what a service of a file extends. all are the services of that file.
func (c *compose) extend(all *services, l *layer, depth int) {
	f, ok := pick(l.fields, "extends")
	if !ok { // but an earlier document of the file may have it
		l.busy = true
		for _, b := range l.below {
			c.extend(all, b, depth)
		}
		l.busy = false
		return
	}
	if l.based {
		return
	}
	l.based = true
	c.enter(l.scope)
	n := c.follow(f.value)
	var service, file *yaml.Node
	switch n.Kind {
	case yaml.ScalarNode:
		service = n
	case yaml.MappingNode:
		for _, f := range c.mappingOf("extends", n, 4) {
			switch f.key.Value {
			case "service":
				service = f.value
			case "file":
				if file = c.follow(f.value); isNull(file) {
					file = nil
				}
			}
		}
		if service == nil {
			c.report(n, noExtendedService)
			return
		}
	default:
		c.reportWrongType("extends", "the name of a service, or a mapping with service and file", n)
		return
	}
	name, ok := c.words("extends", service)
	if !ok {
		return
	}
	service = c.follow(service)
	if file != nil {
		if all = c.fileOfBase(file); all == nil {
			return
		}
	}
	c.enter(l.scope)
	base := all.byName[name]
	switch {
	case base == nil && all.broken: // the error about the file is enough
		return
	case base == nil:
		c.report(service, noSuchBase, quote(service.Value))
		return
	case base == l, base.busy:
		c.report(service, extendsCycle, quote(service.Value))
		return
	case depth > maxDepth:
		c.report(service, tooDeep)
		return
	}
	l.busy = true
	c.extend(all, base, depth+1)
	l.busy = false
	l.below = append([]*layer{base}, l.below...)
}

// extendsOnce reports services of a document that extend something and do so in an
// earlier document of the file: Compose merges the two values, and not what is extended.
func (c *compose) extendsOnce(own, before *services) {
	for _, name := range own.names {
		f, ok := pick(own.byName[name].fields, "extends")
		for l := before.byName[name]; ok && l != nil; l = l.below[0] {
			if _, again := pick(l.fields, "extends"); again {
				c.report(f.key, extendsTwice)
			}
			if len(l.below) == 0 {
				break
			}
		}
	}
}

// fileOfBase returns the services of the file that a node of extends names, or nil.
func (c *compose) fileOfBase(n *yaml.Node) *services {
	s := c.scope
	name, ok := c.text("extends", n)
	if !ok {
		return nil
	}
	file, bounds, ok := c.further("extends", n, s.dir, name)
	if !ok {
		return nil
	}
	key := baseKey{file, s.env}
	if all, known := c.bases[key]; known {
		return all
	}
	var all *services
	docs, found := c.read(file, bounds)
	c.addNamed("extends", n, found)
	if len(found) == 0 {
		all = newServices()
		before := len(c.found)
		for _, d := range c.documents(&scope{file, filepath.Dir(file), s.get, s.env}, docs) {
			own, removed := c.own(d, all)
			c.extendsOnce(own, all)
			all.addLayers(own, removed)
		}
		all.broken = slices.ContainsFunc(c.found[before:], func(p problem) bool {
			return slices.Contains([]kind{notAComposeFile, emptyDocument, wrongType}, p.kind)
		})
	}
	c.bases[key] = all
	c.enter(s)
	return all
}

// values returns the values of a key of a service in all files, without those that a
// later file takes away.
func (c *compose) values(l *layer, key string) []*layer {
	if c.visits++; c.visits > maxVisits {
		if c.visits == maxVisits+1 {
			c.found = append(c.found, newProblem(Position{l.file, 1, 1}, tooManyNodes))
		}
		return nil
	}
	var all []*layer
	for _, b := range l.below {
		all = append(all, c.values(b, key)...)
	}
	if l.node == nil {
		return all
	}
	if slices.Contains(l.resets, key) {
		all = nil
	}
	f, ok := pick(l.fields, key)
	if !ok {
		return all
	}
	n := c.follow(f.value)
	switch {
	case isNull(n) && key == extensionKey:
		c.enter(l.scope)
		c.reportWrongType(key, "a mapping (key: value)", n)
		return all
	case isNull(n):
		return all
	}
	return append(all, &layer{scope: l.scope, node: n})
}

// items returns the items of a list of a service, of all files.
func (c *compose) items(l *layer, key, want string) []*layer {
	var all []*layer
	for _, v := range c.values(l, key) {
		c.enter(v.scope)
		if v.node.Kind != yaml.SequenceNode {
			c.reportWrongType(key, want, v.node)
			continue
		}
		for _, item := range v.node.Content {
			if c.visits++; c.visits > maxVisits {
				if c.visits == maxVisits+1 {
					c.report(v.node, tooManyNodes)
				}
				return nil
			}
			if target(item).Tag == "!reset" {
				continue
			}
			all = append(all, &layer{scope: v.scope, node: item})
		}
	}
	return all
}

// resets returns the keys of a mapping with the tag !reset or !override, which take
// away what is before.
func (c *compose) resets(n *yaml.Node, depth int) []string {
	if n = target(n); n.Kind != yaml.MappingNode || n.Tag == "!override" || c.untagged[n] || depth > maxDepth {
		return nil
	}
	var all []string
	for pair := range slices.Chunk(n.Content, 2) {
		if c.visits++; c.visits > maxVisits {
			break
		}
		key, value := pair[0], target(pair[1])
		switch {
		case !isMerge(key):
			if value.Tag == "!reset" || value.Tag == "!override" {
				all = append(all, key.Value)
			}
		case value.Kind == yaml.SequenceNode:
			for _, source := range value.Content {
				all = append(all, c.resets(source, depth+1)...)
			}
		default:
			all = append(all, c.resets(value, depth+1)...)
		}
	}
	return all
}
