package config

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/docker/go-connections/nat"
	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/port"
)

// isKubernetes reports whether a file has objects of Kubernetes.
func isKubernetes(file string, data []byte) bool {
	return !isManifestName(file) && hasTopKey(data, "apiVersion") && hasTopKey(data, "kind")
}

// hasTopKey reports whether a line of a text starts with a key.
func hasTopKey(data []byte, key string) bool {
	return bytes.HasPrefix(data, []byte(key+":")) || bytes.Contains(data, []byte("\n"+key+":"))
}

// kubernetes is the state of parsing a file with objects of Kubernetes.
type kubernetes struct{ reader }

// parseKubernetes parses the objects of a file: host ports of pods, the ports of those in
// the host's network, and node ports of services.
func parseKubernetes(file string, data []byte, _ Options) (Manifest, []problem) {
	k := &kubernetes{newReader(file)}
	k.App = appOfFile(file)
	data, found := checkText(file, data)
	if found != nil {
		return k.Manifest, found
	}
	docs, err := decode(data, maxVisits)
	switch {
	case err != nil && bytes.Contains(data, []byte("{{")):
		at := bytes.Index(data, []byte("{{"))
		return k.Manifest, []problem{newProblem(position(file, data, at), helmTemplate)}
	case err != nil:
		return k.Manifest, []problem{yamlProblem(file, data, err)}
	}
	docs = slices.DeleteFunc(docs, func(doc *yaml.Node) bool { return isNull(doc.Content[0]) })
	if len(docs) == 0 {
		return k.Manifest, []problem{newProblem(Position{file, 1, 1}, emptyKubernetes)}
	}
	for _, doc := range docs {
		k.object(k.follow(doc.Content[0]), 1)
	}
	// YAML takes {{ text }} for a mapping with a mapping as its key.
	lines := bytes.Split(data, []byte("\n"))
	for i, p := range k.found {
		if p.kind == helmTemplate || p.Line < 1 || p.Line > len(lines) {
			continue
		}
		if at := bytes.Index(lines[p.Line-1], []byte("{{")); at >= 0 {
			k.found[i] = newProblem(Position{file, p.Line, utf8.RuneCount(lines[p.Line-1][:at]) + 1}, helmTemplate)
		}
	}
	return k.Manifest, withoutRepeats(k.found)
}

// appOfFile returns the app of files that name none: in several files, objects may have
// the same name.
func appOfFile(file string) string {
	switch {
	case file == stdinName:
		return "stdin"
	case labelError(file) == "":
		return filepath.ToSlash(file)
	}
	app := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || labelError(string(r)) != "" {
			return '_'
		}
		return r
	}, filepath.Base(file))
	if r := []rune(app); len(r) > labelMax {
		app = string(r[len(r)-labelMax:])
	}
	return app
}

// value returns a value below keys of a mapping, or nil.
func (k *kubernetes) value(n *yaml.Node, depth int, keys ...string) *yaml.Node {
	name := "object"
	for i, key := range keys {
		f, ok := pick(k.mappingOf(name, n, depth+i), key)
		name = key
		if !ok {
			return nil
		}
		if n = k.follow(f.value); isNull(n) {
			return nil
		}
	}
	return n
}

// word returns the text of a scalar below keys of a mapping, or "".
func (k *kubernetes) word(n *yaml.Node, depth int, keys ...string) string {
	if n = k.value(n, depth, keys...); n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// list returns the items of a list, or nil.
func (k *kubernetes) list(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	var all []*yaml.Node
	for _, item := range n.Content {
		if k.visits++; k.visits > maxVisits {
			if k.visits == maxVisits+1 {
				k.report(n, tooManyNodes)
			}
			return nil
		}
		all = append(all, k.follow(item))
	}
	return all
}

// templates are the paths to the pods of the kinds that have some.
var templates = map[string][]string{
	"Pod": {"spec"}, "PodTemplate": {"template", "spec"}, "CronJob": {"spec", "jobTemplate", "spec", "template", "spec"},
	"Deployment": {"spec", "template", "spec"}, "ReplicaSet": {"spec", "template", "spec"}, "StatefulSet": {"spec", "template", "spec"},
	"DaemonSet": {"spec", "template", "spec"}, "Job": {"spec", "template", "spec"}, "ReplicationController": {"spec", "template", "spec"},
}

// object reads one object, or those of a list.
func (k *kubernetes) object(n *yaml.Node, depth int) {
	if len(k.Ports) > maxNeeds || k.visits > maxVisits {
		return
	}
	if depth > maxDepth {
		k.report(n, tooDeep)
		return
	}
	if n.Kind != yaml.MappingNode {
		k.report(n, notAnObject, describe(n))
		return
	}
	kind := k.word(n, depth, "kind")
	if kind == "" && depth == 1 { // items of a list of one kind may leave it out
		k.report(n, noKind)
		return
	}
	path, hasPods := templates[kind]
	var all []published
	switch {
	case strings.HasSuffix(kind, "List"):
		for _, item := range k.list(k.value(n, depth, "items")) {
			k.object(item, depth+1)
		}
		return
	case kind == "Kustomization":
		k.report(n, kustomization)
		return
	case kind == "Service":
		for _, p := range k.list(k.value(n, depth, "spec", "ports")) {
			all = k.port(all, p, "nodePort", "port", depth+3)
		}
	case hasPods:
		all = k.pod(k.value(n, depth, path...), depth+len(path))
	}
	k.add(needName(k.word(n, depth, "metadata", "name"), strings.ToLower(kind)), all)
}

// pod reads the ports of a pod on its host.
func (k *kubernetes) pod(spec *yaml.Node, depth int) []published {
	if spec == nil {
		return nil
	}
	key := "hostPort"
	if k.word(spec, depth, "hostNetwork") == "true" {
		key = "containerPort" // which hostPort has to be the same as
	}
	containers := k.list(k.value(spec, depth, "containers"))
	for _, c := range k.list(k.value(spec, depth, "initContainers")) {
		if k.word(c, depth+2, "restartPolicy") == "Always" { // others have ended when the pod starts
			containers = append(containers, c)
		}
	}
	var all []published
	for _, c := range containers {
		for _, p := range k.list(k.value(c, depth+2, "ports")) {
			all = k.port(all, p, key, "containerPort", depth+4)
		}
	}
	return all
}

// port adds the need of an entry of ports whose host's port is that of a key.
func (k *kubernetes) port(all []published, entry *yaml.Node, key, target string, depth int) []published {
	n := k.value(entry, depth, key)
	if n == nil {
		return all
	}
	number, ok := k.scalar(key, "a port from 1 to 65535", n)
	if !ok || number == "0" {
		return all
	}
	host, err := port.ParseNumber(number)
	switch {
	case strings.Contains(number, "{{"):
		k.report(n, helmTemplate)
		return all
	case err != nil:
		k.report(n, badPort, key, err)
		return all
	}
	protocol := strings.ToLower(k.word(entry, depth, "protocol"))
	if protocol == "" {
		protocol = "tcp"
	}
	address := port.Any
	if ip := k.value(entry, depth, "hostIP"); ip != nil && key != "nodePort" && ip.Value != "" {
		if address, err = port.ParseAddress(ip.Value); err != nil {
			k.report(ip, badAddress, "hostIP", err)
			return all
		}
	}
	inside := k.word(entry, depth, target)
	if _, err := port.ParseNumber(inside); err != nil {
		inside = number
	}
	p := Port{Expect: Free, Severity: SeverityError, Addresses: []port.Address{address}}
	mapping := nat.PortMapping{Port: nat.Port(inside + "/" + protocol)}
	need, ok := k.publish(n, p, port.Range{First: host, Last: host}, []nat.PortMapping{mapping}, true)
	if !ok || slices.ContainsFunc(all, need.restates) {
		return all
	}
	return append(all, need)
}

// needName returns a name for a need of what has a name, or else a kind.
func needName(name, kind string) string {
	if name == "" {
		name = kind
	}
	name = strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_.-", r) {
			return r
		}
		return '-'
	}, name)
	if name = strings.TrimLeft(name, "_.-"); name == "" {
		name = "port"
	}
	return name[:min(len(name), nameMax)]
}
