package config

import (
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/port"
)

// isWorkflow reports whether a file is a workflow of GitHub or of a forge that reads
// such files.
func isWorkflow(file string, data []byte) bool {
	if isManifestName(file) || !hasTopKey(data, "jobs") {
		return false
	}
	return filepath.Base(filepath.Dir(file)) == "workflows" || hasTopKey(data, "on")
}

// workflow is the state of parsing a workflow.
type workflow struct{ reader }

// parseWorkflow parses the ports that the service containers of a workflow's jobs
// publish on the runner.
func parseWorkflow(file string, data []byte, _ Options) (Manifest, []problem) {
	w := &workflow{newReader(file)}
	w.App = appOfFile(file)
	data, found := checkText(file, data)
	if found != nil {
		return w.Manifest, found
	}
	root, found := readYAML(file, data, emptyWorkflow)
	if root == nil || len(found) > 0 {
		return w.Manifest, found
	}
	if root.Kind != yaml.MappingNode {
		w.report(root, notAWorkflow)
		return w.Manifest, w.found
	}
	fields := w.mappingOf("", root, 1)
	if f, ok := pick(fields, "jobs"); !ok || w.follow(f.value).Kind != yaml.MappingNode {
		w.report(root, notAWorkflow)
	}
	for _, job := range w.below(fields, "jobs", 2) {
		for _, service := range w.below(w.mappingOf("jobs", job.value, 3), "services", 4) {
			if w.follow(service.value).Kind != yaml.MappingNode { // such as an expression
				continue
			}
			f, ok := pick(w.mappingOf("services", service.value, 5), "ports")
			if !ok {
				continue
			}
			w.add(needName(job.key.Value+"-"+service.key.Value, "service"), w.ports(job.key.Value, w.follow(f.value)))
		}
		if len(w.Ports) > maxNeeds {
			break
		}
	}
	return w.Manifest, withoutRepeats(w.found)
}

// below returns the fields of a mapping that is the value of a key, or none.
func (w *workflow) below(fields []field, key string, depth int) []field {
	f, ok := pick(fields, key)
	if !ok || w.follow(f.value).Kind != yaml.MappingNode {
		return nil
	}
	return w.mappingOf(key, f.value, depth)
}

// ports reads the ports of a service of a job.
func (w *workflow) ports(job string, n *yaml.Node) []published {
	if n.Kind != yaml.SequenceNode {
		return nil
	}
	var all []published
	for _, item := range n.Content {
		item = w.follow(item)
		spec, ok := w.scalar("ports", `text such as "5432:5432"`, item)
		if !ok || strings.Contains(spec, "${{") {
			continue
		}
		mappings, wrong := parseSpec(spec)
		switch {
		case wrong != "":
			w.report(item, badSpec, quote(spec), wrong)
			continue
		case len(all) > maxNeeds:
			w.report(item, tooManyNeeds)
			return all
		}
		first, last := mappings[0].Binding, mappings[len(mappings)-1].Binding
		block, fixed := hostPorts(first.HostPort, last.HostPort)
		p := Port{Expect: Free, Severity: SeverityError, Addresses: []port.Address{port.Any}, Group: job}
		if first.HostIP != "" {
			address, err := port.ParseAddress(first.HostIP)
			if err != nil {
				w.report(item, badSpec, quote(spec), oddAddress)
				continue
			}
			p.Addresses = []port.Address{address}
		}
		if need, ok := w.publish(item, p, block, mappings, fixed); ok {
			need.Container = 0 // nobody but the job reaches a runner, so its databases may be published
			all = append(all, need)
		}
	}
	return all
}
