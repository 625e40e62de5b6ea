package config

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/org/portcheck/port"
	"gopkg.in/yaml.v3"
)

// targetKinds are the targets that need no address.
var targetKinds = []string{"auto", "local", "runner", "job"}

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
		address, ok := m.text(key+"."+name, "a target such as ssh://deploy@app1", f.value)
		switch {
		case !ok:
		case hasSecret(address):
			m.report(f.value, hasPassword, key+"."+name)
		case !isTarget(address):
			m.report(f.value, badTarget, key+"."+name, quote(address))
		case slices.Contains(targetKinds, name) && name != address:
			m.report(f.key, reservedName, quote(name))
		}
		// Also after an error, so that the needs that use it are not reported.
		m.Targets = append(m.Targets, Target{m.at(f.key), name, address})
	}
}

// targetOfNeed reads one entry of a need's targets.
func (m *manifest) targetOfNeed(key string, n *yaml.Node) (string, bool) {
	s, ok := m.text(key, "the name of a target", n)
	if !ok {
		return "", false
	}
	switch address := strings.HasPrefix(s, "container:") || strings.HasPrefix(s, "ssh://"); {
	case hasSecret(s):
		m.report(n, hasPassword, key)
	case address && !isTarget(s):
		m.report(n, badTarget, key, quote(s))
	case !address && !slices.Contains(targetKinds, s) && !m.hasTarget(s):
		m.report(n, otherTarget, quote(s), remedy(s, m.knownTargets()))
	default:
		return s, true
	}
	return "", false
}

func (m *manifest) hasTarget(name string) bool {
	return slices.ContainsFunc(m.Targets, func(t Target) bool { return t.Name == name })
}

func (m *manifest) knownTargets() []string {
	var known []string
	for _, t := range m.Targets {
		if !slices.Contains(targetKinds, t.Name) {
			known = append(known, t.Name)
		}
	}
	return append(known, targetKinds...)
}

// hasSecret says whether s is a URL with a password. Its message doesn't repeat
// it, since logs are read by many.
func hasSecret(s string) bool {
	_, rest, _ := strings.Cut(s, "://")
	user, _, ok := strings.Cut(rest, "@")
	return ok && strings.Contains(user, ":")
}

// isTarget says whether s has the form of a target's address.
func isTarget(s string) bool {
	if slices.Contains(targetKinds, s) {
		return true
	}
	if name, ok := strings.CutPrefix(s, "container:"); ok {
		return isPlain(name)
	}
	rest, ok := strings.CutPrefix(s, "ssh://")
	if !ok {
		return false
	}
	user, hostPort, ok := strings.Cut(rest, "@")
	if !ok {
		user, hostPort = "", rest
	} else if !isPlain(user) {
		return false
	}
	return isHostPort(hostPort)
}

// isHostPort takes an IPv6 address in brackets only, where the port is clear.
func isHostPort(s string) bool {
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		if _, err := port.ParseNumber(s[i+1:]); err != nil {
			return false
		}
		s = s[:i]
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		ip, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && ip.Is6() && strings.HasSuffix(s, "]")
	}
	return isHost(s) && !strings.Contains(s, ":")
}

// isPlain says whether s is a name of users and containers: one that no tool
// takes for an option or a path.
func isPlain(s string) bool {
	for i, r := range s {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_'
		if !letter && (i == 0 || r != '.' && r != '-') {
			return false
		}
	}
	return s != ""
}
