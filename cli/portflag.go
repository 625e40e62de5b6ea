package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

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
	if host, _, found := cutAddress(strings.TrimSuffix(spec, "/"+string(port.TCP))); err != nil && found && namesHost(host) {
		if _, remoteErr := parseRemote(spec, config.Reachable); remoteErr == nil {
			err = fmt.Errorf("%w; a port of another host is taken with --expect reachable", err)
		}
	}
	return ports, err
}

// namesHost reports whether a text may name a host, and is no IP address.
func namesHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return err != nil && config.IsRemote(s) && strings.ContainsFunc(s, unicode.IsLetter)
}

// parseRemote parses HOST:PORT[-LAST][,...][/tcp].
func parseRemote(spec string, expect config.Expect) ([]config.Port, error) {
	host, ports, found := cutAddress(strings.TrimSuffix(spec, "/"+string(port.TCP)))
	fail := func(err error) ([]config.Port, error) {
		return nil, fmt.Errorf("%q: %w (with --expect %s a port is given as db.internal:5432 or [2001:db8::1]:5432)", spec, err, expect)
	}
	switch err := brackets(spec); {
	case err != nil:
		return fail(err)
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

// brackets returns an error for an address in brackets that no port follows.
func brackets(spec string) error {
	_, after, closed := strings.Cut(spec, "]")
	switch {
	case !strings.HasPrefix(spec, "[") || strings.HasPrefix(after, ":") && len(after) > 1:
		return nil
	case !closed:
		return errors.New("the bracket is not closed")
	case after == "" || after == ":":
		return errors.New("the port after the brackets is missing")
	}
	return errors.New("a colon is missing between the brackets and the port")
}

// respelled returns a port as parsePorts takes it, from a form that other programs take,
// or "".
func respelled(spec string) string {
	var forms []string
	if _, rest, isURL := strings.Cut(spec, "://"); isURL {
		rest, _, _ = strings.Cut(rest, "/")
		forms = append(forms, rest)
	}
	lower := strings.ToLower(spec)
	for _, proto := range port.Protocols {
		p := string(proto)
		for _, sign := range []string{":", "/", "-", "_", " "} {
			if rest, ok := strings.CutPrefix(lower, p+sign); ok { // tcp:80
				forms = append(forms, rest+"/"+p)
			}
			if rest, ok := strings.CutSuffix(lower, sign+p); ok { // 80-tcp
				forms = append(forms, rest+"/"+p)
			}
		}
	}
	rest, protocol := spec, ""
	if i := strings.IndexByte(spec, '/'); i >= 0 {
		rest, protocol = spec[:i], spec[i:]
	}
	if i := strings.LastIndexByte(rest, ':'); i > 0 { // 8080:80, a container's published port
		if _, err := port.ParseSet(rest[i+1:]); err == nil || strings.Trim(rest[i+1:], "0123456789") == "" {
			forms = append(forms, rest[:i]+protocol)
		}
	}
	forms = append(forms, strings.Replace(spec, "..", "-", 1), strings.Join(strings.FieldsFunc(spec, isListSign), ","))
	if n, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", rest); err == nil { // of a file, not of DNS
		forms = append(forms, strconv.Itoa(n)+protocol)
	}
	for _, right := range forms {
		if right != spec && !strings.Contains(right, "://") && len(right) <= len(spec) && isPort(right) {
			return right
		}
	}
	return ""
}

// isPort reports whether parsePorts takes the text.
func isPort(spec string) bool {
	_, err := readPorts(spec)
	return err == nil
}

// parsePorts parses [ADDRESS:]PORT[-LAST][,...][/PROTOCOL] as a need for each port or
// block. Address and protocol are those of the whole list.
func parsePorts(spec string) ([]config.Port, error) {
	all, err := readPorts(spec)
	if err == nil {
		return all, nil
	}
	if right := respelled(spec); right != "" {
		return nil, fmt.Errorf("%q is not how a port is given; did you mean %q?", spec, right)
	}
	return nil, fmt.Errorf("%w (a port is given as 8080, 80,443, 8000-8003, 53/udp, 127.0.0.1:8080 or [::1]:8080/tcp)", about(spec, err))
}

// about returns an error with the value that it is about.
func about(value string, err error) error {
	if strings.HasPrefix(err.Error(), fmt.Sprintf("%q", value)) {
		return err
	}
	return fmt.Errorf("%q: %w", value, err)
}

// readPorts is parsePorts without the value in its errors.
func readPorts(spec string) ([]config.Port, error) {
	fail := func(err error) ([]config.Port, error) { return nil, err }
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
	if err := brackets(rest); err != nil {
		return fail(err)
	}
	if text, ports, found := cutAddress(rest); found {
		rest = ports
		switch {
		case ports == "":
			return fail(errors.New("the port after the address is missing"))
		case text == "" || text == "*": // :8080 is any address to many programs, and ss prints *:8080
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
	switch {
	case rest == "0":
		return fail(errors.New("0 lets the system choose: `portcheck free` prints a free port, and `portcheck assign` holds one"))
	case err != nil:
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
