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
func portFlagManifest(specs []string) (config.Manifest, []config.Problem) {
	m := config.Manifest{File: "--port"}
	var problems []config.Problem
	taken, last := map[string]bool{}, map[string]int{} // names, and the last number of each
	for _, spec := range specs {
		p, err := parsePort(spec)
		if err != nil {
			problems = append(problems, config.Problem{Position: config.Position{File: "--port"}, Message: err.Error()})
			continue
		}
		name := p.Name
		for taken[p.Name] {
			last[name] = max(last[name]+1, 2)
			p.Name = fmt.Sprintf("%s-%d", name, last[name])
		}
		taken[p.Name] = true
		m.Ports = append(m.Ports, p)
	}
	return m, problems
}

// parsePort parses [ADDRESS:]PORT[-LAST][/PROTOCOL].
func parsePort(spec string) (config.Port, error) {
	fail := func(err error) (config.Port, error) {
		return config.Port{}, fmt.Errorf("%q: %w (a port is given as 8080, 8000-8003, 53/udp, 127.0.0.1:8080 or [::1]:8080/tcp)", spec, err)
	}
	rest, protocol, named := strings.Cut(spec, "/")
	proto := port.TCP
	if named {
		proto = port.Protocol(protocol)
		if !slices.Contains(port.Protocols, proto) {
			return fail(fmt.Errorf("unknown protocol %q: want tcp or udp", protocol))
		}
	}
	addr := port.Any
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		text := rest[:i]
		rest = rest[i+1:]
		if inner, found := strings.CutPrefix(text, "["); found && strings.HasSuffix(inner, "]") {
			text = strings.TrimSuffix(inner, "]")
		} else if strings.Contains(text, ":") {
			return fail(errors.New("put an IPv6 address in brackets and the port after them"))
		}
		var err error
		if addr, err = port.ParseAddress(text); err != nil {
			return fail(err)
		}
	}
	ports, err := port.ParseRange(rest)
	if err != nil {
		return fail(err)
	}
	return config.Port{
		At: config.Position{File: "--port"}, Name: fmt.Sprintf("%s-%s", proto, ports),
		Ports: ports, Protocols: []port.Protocol{proto}, Addresses: []port.Address{addr},
		Expect: config.Free, Severity: config.SeverityError,
	}, nil
}
