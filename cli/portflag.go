package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// portFlagManifest returns a manifest with an entry for each --port flag.
func portFlagManifest(specs []string, expect config.Expect) (config.Manifest, []config.Problem) {
	m := config.Manifest{File: "--port"}
	var problems []config.Problem
	taken, last := map[string]bool{}, map[string]int{} // names, and the last number of each
	for _, spec := range specs {
		ports, err := parsePortsFor(spec, expect)
		if err != nil {
			problems = append(problems, config.Problem{Position: config.Position{File: "--port"}, Message: err.Error()})
			continue
		}
		for _, p := range ports {
			name := p.Name
			for taken[p.Name] {
				last[name] = max(last[name]+1, 2)
				p.Name = fmt.Sprintf("%s-%d", name, last[name])
			}
			taken[p.Name] = true
			m.Ports = append(m.Ports, p)
		}
	}
	return m, problems
}

// parsePortsFor parses the needs of one --port flag with what is expected of them.
func parsePortsFor(spec string, expect config.Expect) ([]config.Port, error) {
	if expect.Connects() {
		return parseRemote(spec, expect)
	}
	ports, err := parsePorts(spec)
	for i := range ports {
		ports[i].Expect = expect
	}
	return ports, err
}

// parseRemote parses HOST:PORT[-LAST][,...][/tcp].
func parseRemote(spec string, expect config.Expect) ([]config.Port, error) {
	host, ports, found := cutAddress(strings.TrimSuffix(spec, "/"+string(port.TCP)))
	fail := func(err error) ([]config.Port, error) {
		return nil, fmt.Errorf("%q: %w (with --expect %s a port is given as db.internal:5432 or [2001:db8::1]:5432)", spec, err, expect)
	}
	switch {
	case strings.Contains(ports, "/"):
		return fail(errors.New("connects are made by tcp"))
	case !found || host == "":
		return fail(errors.New("the host to connect to is missing"))
	case !config.IsRemote(host):
		return fail(errors.New("this is not a host name or an IP address"))
	}
	set, err := port.ParseSet(ports)
	if err != nil {
		return fail(err)
	}
	var all []config.Port
	for _, r := range set {
		all = append(all, config.Port{
			At: config.Position{File: "--port"}, Name: fmt.Sprintf("%s-%s", port.TCP, r), Ports: r, Remote: host,
			Protocols: []port.Protocol{port.TCP}, Addresses: []port.Address{}, Expect: expect, Severity: config.SeverityError,
		})
	}
	return all, nil
}

// cutAddress cuts at the colon between an address and its ports. Brackets around the
// address are removed.
func cutAddress(s string) (address, ports string, found bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", s, false
	}
	address = s[:i]
	if inner, ok := strings.CutPrefix(address, "["); ok && strings.HasSuffix(inner, "]") {
		address = strings.TrimSuffix(inner, "]")
	}
	return address, s[i+1:], true
}

// respelled returns a port as parsePorts takes it, from a URL, tcp:80 or tcp/80; or "".
func respelled(spec string) string {
	right := ""
	if _, rest, isURL := strings.Cut(spec, "://"); isURL {
		right, _, _ = strings.Cut(rest, "/")
	} else if i := strings.IndexAny(spec, ":/"); i > 0 && slices.Contains(port.Protocols, port.Protocol(strings.ToLower(spec[:i]))) {
		right = spec[i+1:] + "/" + strings.ToLower(spec[:i])
	}
	if strings.Contains(right, "://") || right == spec {
		return ""
	}
	if !isPort(right) {
		return ""
	}
	return right
}

// isPort reports whether parsePorts takes the text.
func isPort(spec string) bool {
	_, err := parsePorts(spec)
	return err == nil
}

// parsePorts parses [ADDRESS:]PORT[-LAST][,...][/PROTOCOL] as a need for each port or
// block. Address and protocol are those of the whole list.
func parsePorts(spec string) ([]config.Port, error) {
	fail := func(err error) ([]config.Port, error) {
		if right := respelled(spec); right != "" {
			return nil, fmt.Errorf("%q is not how a port is given; did you mean %q?", spec, right)
		}
		return nil, fmt.Errorf("%q: %w (a port is given as 8080, 80,443, 8000-8003, 53/udp, 127.0.0.1:8080 or [::1]:8080/tcp)", spec, err)
	}
	rest, protocol, named := strings.Cut(spec, "/")
	proto := port.TCP
	switch {
	case named && strings.ContainsAny(protocol, ",:"), strings.Count(rest, ",") > 0 && strings.Contains(rest[strings.Index(rest, ","):], ":"):
		return fail(errors.New("address and protocol are those of the whole list: use --port once for each"))
	case named:
		proto = port.Protocol(protocol)
		if !slices.Contains(port.Protocols, proto) {
			return fail(fmt.Errorf("unknown protocol %q: want tcp or udp", protocol))
		}
	}
	addr := port.Any
	if text, ports, found := cutAddress(rest); found {
		rest = ports
		switch {
		case text == "": // :8080 is any address to many programs
		case text == "localhost":
			addr = port.Loopback
		case strings.Contains(text, ":") && !strings.HasPrefix(spec, "["):
			return fail(errors.New("put an IPv6 address in brackets and the port after them"))
		default:
			var err error
			if addr, err = port.ParseAddress(text); err != nil {
				return fail(err)
			}
		}
	}
	set, err := port.ParseSet(rest)
	if err != nil {
		return fail(err)
	}
	var all []config.Port
	for _, r := range set {
		all = append(all, config.Port{
			At: config.Position{File: "--port"}, Name: fmt.Sprintf("%s-%s", proto, r),
			Ports: r, Protocols: []port.Protocol{proto}, Addresses: []port.Address{addr},
			Expect: config.Free, Severity: config.SeverityError,
		})
	}
	return all, nil
}
