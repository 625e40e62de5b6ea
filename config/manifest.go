package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/org/portcheck/port"
	"gopkg.in/yaml.v3"
)

// manifest is the state of parsing one manifest: what the needs inherit, and the
// names that are taken.
type manifest struct {
	walker
	Manifest
	defaults
	names  map[string]Position
	envs   map[string]Position
	ranged bool // there is a range at the top, which may be wrong
}

// defaults holds the values of a need's keys that are not given.
type defaults struct {
	protocols []port.Protocol
	addresses []port.Address
	severity  Severity
	ranges    port.Set
	exclude   port.Set
	wait      time.Duration
	allow     []NoticeCode
}

// parseManifest parses one manifest. If it returns problems, the Manifest is
// incomplete.
func parseManifest(file string, data []byte) (Manifest, []problem) {
	data, found := checkText(file, data)
	if found != nil {
		return Manifest{File: file}, found
	}
	root, found := readYAML(file, data, emptyFile)
	m := newManifest(file, found)
	switch {
	case root == nil:
	case root.Kind != yaml.MappingNode:
		m.report(root, notAManifest, describe(root))
	case m.inspect(root, data):
		m.root(root)
	}
	return m.Manifest, m.found
}

func newManifest(file string, found []problem) manifest {
	return manifest{
		walker:   walker{file, found},
		Manifest: Manifest{File: file},
		defaults: defaults{
			protocols: []port.Protocol{port.TCP},
			addresses: []port.Address{port.Any},
			severity:  SeverityError,
		},
		names: map[string]Position{},
		envs:  map[string]Position{},
	}
}

func (m *manifest) root(n *yaml.Node) {
	// Keys may come in any order, so the needs are read last.
	var targets, needs *yaml.Node
	later := func(dst **yaml.Node) func(string, *yaml.Node) {
		return func(_ string, n *yaml.Node) { *dst = n }
	}
	fields := m.mapping("", "", n, []entry{
		{"version", m.version},
		{"app", into(&m.App, m.label)},
		{"host", into(&m.Host, m.label)},
		{"range", into(&m.ranges, m.ports)},
		{"exclude", into(&m.exclude, m.portsOrNone)},
		{"wait", into(&m.wait, m.duration)},
		{"allow", into(&m.allow, m.notices)},
		{"targets", later(&targets)},
		{"defaults", m.readDefaults},
		{"ports", later(&needs)},
	})
	if _, ok := fields["version"]; !ok {
		m.report(n, noVersion)
	}
	if _, ok := fields["app"]; !ok {
		m.defaultApp(n)
	}
	if targets != nil {
		m.readTargets("targets", targets)
	}
	_, m.ranged = fields["range"]
	switch f, ok := fields["ports"]; {
	case !ok:
		m.report(n, noPorts)
	case needs == nil: // an alias, reported by inspect
	case isNull(needs), needs.Kind == yaml.SequenceNode && len(needs.Content) == 0:
		m.report(f.value, emptyPorts)
	case needs.Kind != yaml.SequenceNode:
		m.reportWrongType("ports", "a list of needs, each with name and port", needs)
	default:
		m.needs(needs)
	}
}

func (m *manifest) version(_ string, n *yaml.Node) {
	if s, ok := m.scalar("version", "1", n); ok && s != "1" {
		m.report(n, badVersion, quote(s))
	}
}

func (m *manifest) readDefaults(key string, n *yaml.Node) {
	fields := m.mapping(key, key+".", n, []entry{
		{"protocol", into(&m.protocols, m.protocolList)},
		{"address", into(&m.addresses, m.addressList)},
		{"severity", into(&m.severity, m.severityWord)},
	})
	if f, ok := fields["address"]; ok {
		m.reportOverlaps(f.value)
	}
}

// defaultApp sets the app to the name of the manifest's directory, or of its
// parent if the directory is .github.
func (m *manifest) defaultApp(n *yaml.Node) {
	file := m.file
	if file == stdinName {
		file = "stdin"
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		m.report(n, badApp, quote(filepath.Dir(file)), err.Error())
		return
	}
	dir := filepath.Dir(abs)
	if filepath.Base(dir) == ".github" {
		dir = filepath.Dir(dir)
	}
	app := filepath.Base(dir)
	if app == string(filepath.Separator) {
		app = "root"
	}
	if why := labelError(app); why != "" {
		m.report(n, badApp, quote(app), why)
		return
	}
	m.App = app
}

// needs reads the list of needs. A list over the limit is not read, so that it
// causes one message.
func (m *manifest) needs(n *yaml.Node) {
	if len(n.Content) > maxNeeds {
		m.report(n.Content[maxNeeds], tooManyNeeds)
		return
	}
	m.Ports = slices.Grow(m.Ports, len(n.Content))
	r := newNeedReader(m)
	for i, item := range n.Content {
		if item.Kind != yaml.AliasNode {
			r.need(fmt.Sprintf("ports[%d]", i), item)
		}
	}
}
