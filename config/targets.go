package config

import (
	"errors"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// readTargets reads the names that a manifest gives to targets.
func (m *manifest) readTargets(key string, n *yaml.Node) {
	for _, f := range m.fields(key, n) {
		if len(m.Targets) == maxTargets {
			m.report(f.key, tooManyTargets)
			return
		}
		name := f.key.Value
		if !isName(name) {
			m.report(f.key, badName, key, quote(name))
			continue
		}
		if f.value.Kind == yaml.AliasNode {
			continue
		}
		text, ok := m.text(key+"."+name, "a target such as ssh://deploy@app1", f.value)
		if ok && m.checkTarget(key+"."+name, text, f.value) && isTargetKind(name) && name != text {
			m.report(f.key, reservedName, quote(name))
		}
		// Even after an error, so that the needs that use the name are not reported.
		m.Targets = append(m.Targets, NamedTarget{m.at(f.key), name, text})
	}
}

// targetOfNeed reads one entry of a need's targets.
func (m *manifest) targetOfNeed(key string, n *yaml.Node) (string, bool) {
	s, ok := m.text(key, "the name of a target", n)
	switch {
	case !ok:
		return "", false
	case strings.Contains(s, ":"): // not allowed in a target's name
		return s, m.checkTarget(key, s, n)
	case isTargetKind(s) || m.hasTarget(s):
		return s, true
	}
	m.report(n, unknownTarget, quote(s), correction(s, m.knownTargets()))
	return "", false
}

// checkTarget reports whether text is a target. If it is not, it adds a problem.
func (m *manifest) checkTarget(key, text string, n *yaml.Node) bool {
	_, err := ParseTarget(text)
	switch {
	case err == nil:
		return true
	case errors.Is(err, errPassword):
		m.report(n, passwordInTarget, key)
	default:
		m.report(n, badTarget, key, err)
	}
	return false
}

// isTargetKind reports whether s is a target without a colon, and therefore not a
// possible name of another target.
func isTargetKind(s string) bool {
	return slices.ContainsFunc(TargetKinds, func(k TargetKind) bool { return k.parse == nil && k.Name == s })
}

func (m *manifest) hasTarget(name string) bool {
	return slices.ContainsFunc(m.Targets, func(t NamedTarget) bool { return t.Name == name })
}

func (m *manifest) knownTargets() []string {
	var known []string
	for _, t := range m.Targets {
		if !isTargetKind(t.Name) {
			known = append(known, t.Name)
		}
	}
	for _, k := range TargetKinds {
		if k.parse == nil {
			known = append(known, k.Name)
		}
	}
	return known
}
