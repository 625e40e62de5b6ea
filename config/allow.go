package config

import (
	"io"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/internal/within"
	"github.com/org/portcheck/port"
)

// Allowed is one entry of an allow file: listeners that are expected on a host. What is
// not set matches every listener.
type Allowed struct {
	At        Position
	Ports     port.Set
	Protocols []port.Protocol
	Addresses []port.Address // a listener may be on none but these
	Owner     Owner
	Reason    string
}

// The messages about allow files that no manifest causes.
const (
	notAllowFile   kind = "not an allow file: want a mapping with version and allow, not %s"
	emptyAllowFile kind = "the allow file is empty: want version and allow"
	noAllow        kind = "allow is missing: want a list of entries such as {port: 22, process: sshd}"
	emptyAllowed   kind = "%s is empty: it would match every listener; want one or more of %s"
	onlyAReason    kind = "%s matches every listener: want one or more of %s"
	tooManyAllowed kind = "more than 1,024 entries, the limit of a run"
)

const maxAllowed = 1024

// LoadAllowed reads allow files; - is stdin. It returns entries only if there are no
// problems.
func LoadAllowed(files []string, stdin io.Reader, bounds []within.Dir) ([]Allowed, []Problem) {
	var all []Allowed
	var found []problem
	limit := new(budget)
	for _, file := range files {
		var data []byte
		var bad []problem
		var left *within.Dir
		if file == stdinName {
			data, bad = readAll(file, stdin)
		} else {
			data, left, bad = Options{}.readFile(file, bounds)
		}
		if bad == nil {
			var entries []Allowed
			entries, bad = parseAllowed(file, data)
			all = append(all, entries...)
		}
		if marks, err := effort(data); err == nil {
			limit.locate(bad, marks+len(data)/bytesPerMark)
		}
		for i := range bad {
			if left != nil {
				bad[i] = bad[i].withoutValues(*left, byLink)
			}
		}
		found = append(found, bad...)
		if len(all) > maxAllowed {
			found = append(found, newProblem(all[maxAllowed].At, tooManyAllowed))
			break
		}
	}
	if len(found) > 0 {
		return nil, withoutKinds(shortened(found))
	}
	return all, nil
}

// parseAllowed parses one allow file. If it returns problems, the entries are not
// complete.
func parseAllowed(file string, data []byte) ([]Allowed, []problem) {
	data, found := checkText(file, data)
	if found != nil {
		return nil, found
	}
	root, found := readYAML(file, data, emptyAllowFile)
	m := newManifest(file, found)
	var all []Allowed
	switch {
	case root == nil:
	case root.Kind != yaml.MappingNode:
		m.report(root, notAllowFile, describe(root))
	case m.inspect(root, data):
		all = m.allowFile(root)
	}
	return all, m.found
}

func (m *manifest) allowFile(n *yaml.Node) []Allowed {
	var all []Allowed
	fields := m.mapping("", "", n, []entry{
		{"version", m.version},
		{"allow", func(key string, n *yaml.Node) {
			if n.Kind != yaml.SequenceNode {
				m.reportWrongType(key, "a list of entries such as {port: 22, process: sshd}", n)
				return
			}
			for i, item := range n.Content {
				if item.Kind != yaml.AliasNode {
					all = append(all, m.allowed("allow["+strconv.Itoa(i)+"]", item))
				}
			}
		}},
	})
	if _, ok := fields["version"]; !ok {
		m.report(n, noVersion)
	}
	if _, ok := fields["allow"]; !ok {
		m.report(n, noAllow)
	}
	return all
}

func (m *manifest) allowed(key string, n *yaml.Node) Allowed {
	a := Allowed{At: m.at(n)}
	o := &a.Owner
	entries := []entry{
		{"port", into(&a.Ports, m.ports)},
		{"protocol", into(&a.Protocols, m.protocolList)},
		{"address", into(&a.Addresses, m.addressList)},
	}
	entries = append(entries, m.ownerEntries(o)...)
	known := keys(entries)
	before := len(m.found)
	fields := m.mapping(key, key+".", n, append(entries, entry{"reason", into(&a.Reason, func(key string, n *yaml.Node) (string, bool) { return m.text(key, "text such as: the admins' own", n) })}))
	switch _, reason := fields["reason"]; {
	case len(m.found) > before:
	case len(fields) == 0:
		m.report(n, emptyAllowed, key, oneOf(known))
	case len(fields) == 1 && reason:
		m.report(n, onlyAReason, key, oneOf(known))
	}
	return a
}
