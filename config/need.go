package config

import (
	"net/netip"
	"slices"

	"github.com/org/portcheck/port"
	"gopkg.in/yaml.v3"
)

// needReader reads needs, one after the other. Its entries store into one Port, and are
// made once: a manifest may have thousands of needs.
type needReader struct {
	*manifest
	p       Port
	options map[string]field // the keys of the need's socket
	entries []entry
}

func newNeedReader(m *manifest) *needReader {
	r := &needReader{manifest: m}
	p := &r.p
	socket := []entry{
		{"reuse_address", func(key string, n *yaml.Node) { p.ReuseAddress = m.optional(key, n) }},
		{"reuse_port", into(&p.ReusePort, m.boolean)},
		{"device", into(&p.Device, m.device)},
	}
	r.entries = []entry{
		{"name", into(&p.Name, m.needName)},
		{"port", func(key string, n *yaml.Node) { m.needPort(key, n, p) }},
		{"protocol", into(&p.Protocols, m.protocolList)},
		{"address", into(&p.Addresses, m.addressList)},
		{"expect", into(&p.Expect, m.expectWord)},
		{"owner", into(&p.Owner, m.ownerList)},
		{"socket", func(key string, n *yaml.Node) { r.options = m.mapping(key, key+".", n, socket) }},
		{"run_as", into(&p.RunAs, m.user)},
		{"range", into(&p.Range, m.ports)},
		{"exclude", into(&p.Exclude, m.portsOrNone)},
		{"wait", into(&p.Wait, m.duration)},
		{"allow", into(&p.Allow, m.notices)},
		{"env", into(&p.Env, m.env)},
		{"guard", func(key string, n *yaml.Node) { p.Guard = m.optional(key, n) }},
		{"severity", into(&p.Severity, m.severityWord)},
		{"targets", into(&p.Targets, m.targetNames)},
		{"remote", into(&p.Remote, m.remote)},
		{"connect_timeout", into(&p.ConnectTimeout, m.connectTimeout)},
		{"only", into(&p.Only, m.boolean)},
	}
	return r
}

// need reads one entry of ports.
func (r *needReader) need(key string, n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		sample := "8080"
		if _, err := port.ParseRange(n.Value); err == nil {
			sample = n.Value
		}
		r.report(n, bareNeed, key, sample, describe(n))
		return
	}
	r.options, r.p = nil, Port{
		Protocols: r.protocols, Addresses: r.addresses, Expect: Free, Severity: r.severity,
		Range: r.ranges, Exclude: r.exclude, Wait: r.wait, Allow: r.allow,
	}
	p := &r.p
	fields := r.mapping(key, "", n, r.entries)
	if n.Kind != yaml.MappingNode {
		return
	}
	for _, required := range []string{"name", "port"} {
		if _, ok := fields[required]; !ok {
			r.report(n, missingKey, required)
		}
	}
	if p.Expect.Connects() {
		r.checkReachable(p, fields)
	} else {
		r.checkBindable(*p, fields, r.options)
	}
	if p.Auto {
		r.checkAuto(p, fields)
	}
	if f, ok := fields["port"]; ok {
		p.At = r.at(f.value)
	}
	r.Ports = append(r.Ports, *p)
}

// checkBindable checks the combination of keys of a need that the app binds.
func (m *manifest) checkBindable(p Port, fields, socket map[string]field) {
	expect, ok := fields["expect"]
	invalid := ok && expect.value.Value != string(p.Expect)
	if f, ok := fields["remote"]; ok && !invalid {
		m.report(f.key, remoteUnused)
	}
	if f, ok := fields["connect_timeout"]; ok && !invalid {
		m.report(f.key, timeoutUnused)
	}
	if f, ok := fields["only"]; ok && p.Only && !invalid {
		_, named := fields["address"]
		switch {
		case p.Expect != Listening:
			m.report(f.key, onlyUnused)
		case !named || slices.Contains(p.Addresses, port.Any):
			m.report(f.key, onlyAnywhere)
		}
	}
	if f, ok := socket["reuse_address"]; ok && len(p.Protocols) > 1 {
		m.report(f.key, reuseOfBoth)
	}
	if f, ok := socket["device"]; ok {
		m.checkZones(f, p)
	}
	if f, ok := fields["address"]; ok && !p.ReusePort {
		m.reportOverlaps(f.value)
	}
}

// checkZones reports addresses of another device than the one that the app binds to.
func (m *manifest) checkZones(device field, p Port) {
	for _, a := range p.Addresses {
		if ip, err := netip.ParseAddr(string(a)); err == nil && ip.Zone() != "" && ip.Zone() != p.Device && p.Device != "" {
			m.report(device.value, otherZone, "socket.device", quote(p.Device), quote(string(a)))
		}
	}
}

// checkReachable checks a need that is connected to, not bound. A key without effect
// is an error, so that nobody relies on it. Values from the top of the manifest
// are dropped: they are for the other needs.
func (m *manifest) checkReachable(p *Port, fields map[string]field) {
	if _, ok := fields["remote"]; !ok {
		m.report(fields["expect"].value, remoteMissing, p.Expect)
	}
	if f, ok := fields["protocol"]; ok && slices.Contains(p.Protocols, port.UDP) {
		m.report(f.value, reachableUDP, p.Expect)
	}
	for _, key := range []string{"address", "owner", "socket", "run_as", "range", "exclude", "guard", "only"} {
		if f, ok := fields[key]; ok {
			m.report(f.key, unusedKey, key, p.Expect)
		}
	}
	p.Protocols, p.Addresses, p.Range, p.Exclude = []port.Protocol{port.TCP}, []port.Address{}, nil, nil
}
