package config

import (
	"net"
	"strconv"
	"strings"
	"unicode"

	"github.com/docker/go-connections/nat"
	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/port"
)

// wantSpec is the short syntax of a published port.
const wantSpec = "want [HOST_IP:]HOST:CONTAINER[/PROTOCOL] with ports or ranges of equal length"

// oddAddress is what is wrong with an IP address that Compose takes and no socket has.
const oddAddress = "the host's address is not supported: want one such as 127.0.0.1, ::1, 0.0.0.0 or ::"

// parseSpec parses a published port in the short syntax, as Compose does. If it is not
// valid, it returns what is wrong and what is allowed, without any part of the text,
// which may contain the values of variables.
func parseSpec(spec string) ([]nat.PortMapping, string) {
	mappings, err := nat.ParsePortSpec(spec)
	switch {
	case err != nil:
		return nil, wrongSpec(spec)
	case mappings[0].Port.Int() == 0:
		return nil, "the container's port is 0: want 1 to 65535"
	}
	return mappings, ""
}

// wrongSpec returns what is wrong with a text that is not a published port.
func wrongSpec(spec string) string {
	parts := strings.Split(spec, ":")
	container, protocol, slash := strings.Cut(parts[len(parts)-1], "/")
	host, address := "", ""
	if len(parts) > 1 {
		host = parts[len(parts)-2]
		address = strings.Join(parts[:len(parts)-2], ":")
	}
	switch {
	case spec == "":
		return "it is empty: " + wantSpec
	case strings.Contains(spec, ","):
		return "want one entry for each port, or a range such as 8000-8003:8000-8003"
	case strings.ContainsFunc(spec, unicode.IsSpace):
		return "it contains a blank: " + wantSpec
	case strings.HasPrefix(spec, "["):
		if wrong := afterBracket(spec); wrong != "" {
			return wrong
		}
	case len(parts) == 2 && net.ParseIP(host) != nil:
		return "the port of the host or of the container is missing: want HOST_IP:HOST:CONTAINER, or HOST_IP::CONTAINER if the engine may choose"
	case strings.Contains(host, "/") || strings.Contains(address, "/"):
		return "the protocol belongs to the end: want HOST:CONTAINER/udp"
	case container == "":
		return "the container's port is missing: want HOST:CONTAINER"
	case isWord(container, "tcp", "udp", "sctp"):
		return "the protocol comes after a slash: want HOST:CONTAINER/udp"
	case slash && protocol != "" && !isWord(protocol, "tcp", "udp", "sctp"):
		return "the protocol is unknown: want /tcp, /udp or /sctp"
	case isPorts(address):
		return "it has three ports: want HOST:CONTAINER, with an IP address before them or none"
	case strings.Contains(address, "%"):
		return "the host's address has a zone, which Compose does not take: want it without %"
	case address != "" && net.ParseIP(address) == nil:
		return "the host's address is not an IP address: want one such as 127.0.0.1, or none for all addresses"
	case host != "" && wrongPorts(host) != "":
		return "the host's port " + wrongPorts(host)
	case len(parts) == 1 && !strings.ContainsFunc(container, unicode.IsDigit):
		return wantSpec
	case wrongPorts(container) != "":
		return "the container's port " + wrongPorts(container)
	case host != "":
		return "the two ranges have different lengths: want as many ports of the host as of the container, or one of the container"
	}
	return wantSpec
}

// afterBracket returns what is wrong with the address in brackets at the start of a
// published port, or with the number of ports after it.
func afterBracket(spec string) string {
	address, rest, closed := strings.Cut(spec[1:], "]")
	switch {
	case !closed:
		return "the bracket of the host's address is not closed: want [::1]:HOST:CONTAINER"
	case strings.Contains(address, "%"):
		return "the host's address has a zone, which Compose does not take: want it without %"
	case net.ParseIP(address) == nil:
		return "the host's address is not an IP address: want one such as [::1], or none for all addresses"
	case strings.Count(rest, ":") < 2:
		return "the port of the host or of the container is missing: want [HOST_IP]:HOST:CONTAINER, or [HOST_IP]::CONTAINER if the engine may choose"
	case strings.Count(rest, ":") > 2:
		return "it has three ports: want HOST:CONTAINER, with an IP address before them or none"
	}
	return wrongSpec(strings.TrimPrefix(rest, ":"))
}

func isWord(s string, words ...string) bool {
	for _, word := range words {
		if strings.EqualFold(s, word) {
			return true
		}
	}
	return false
}

// isPorts reports whether a text is a number or a range of numbers.
func isPorts(s string) bool {
	return s != "" && strings.Trim(s, "0123456789-") == ""
}

// wrongPorts returns what is wrong with a port or a range of ports, or "".
func wrongPorts(s string) string {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	a, err := strconv.ParseUint(first, 10, 64)
	b, err2 := strconv.ParseUint(last, 10, 64)
	switch {
	case err != nil || err2 != nil:
		return "is not a number from 1 to 65535, and not a range such as 8000-8003"
	case a > port.MaxPort || b > port.MaxPort:
		return "is above 65535: want 1 to 65535"
	case a > b:
		return "is a range that goes backwards: want the lower port first"
	}
	return ""
}

// long is spec for an entry in the long syntax.
func (c *compose) long(n *yaml.Node) (at *yaml.Node, spec string, named ServicePort, ok bool) {
	fields := c.mappingOf("ports", n, 4)
	if _, ok := pick(fields, "target"); !ok {
		c.report(n, noContainerPort)
		return nil, "", named, false
	}
	texts := map[string]string{}
	at = n
	valid := true
	allowed := []string{"target", "published", "host_ip", "protocol", "mode", "name", "app_protocol"}
	for _, f := range fields {
		key := f.key.Value
		wrong := func(string) string { return "" }
		switch {
		case key == extensionKey:
			c.report(f.key, misplacedExtension)
			continue
		case key == "target":
			wrong = wrongTarget
		case key == "published":
			at, wrong = c.follow(f.value), wrongPublished
		case key == "host_ip":
			wrong = wrongHostIP
		case key == "protocol":
			wrong = wrongProtocol
		case key == "mode", key == "name", key == "app_protocol":
		case strings.HasPrefix(key, "x-"):
			continue
		default:
			c.report(f.key, unknownKey, quote(key), correction(key, allowed))
			valid = false
			continue
		}
		s, ok := c.text(key, f.value)
		if why := wrong(s); ok && why != "" {
			c.report(c.follow(f.value), badPortKey, key, quote(display(c.follow(f.value))), why)
			ok = false
		}
		texts[key] = s
		valid = valid && ok
	}
	if !valid {
		return nil, "", named, false
	}
	spec = texts["target"]
	if texts["published"] != "" || texts["host_ip"] != "" {
		spec = texts["published"] + ":" + spec
	}
	if ip := texts["host_ip"]; strings.Contains(ip, ":") {
		spec = "[" + ip + "]:" + spec
	} else if ip != "" {
		spec = ip + ":" + spec
	}
	if protocol := texts["protocol"]; protocol != "" {
		spec += "/" + protocol
	}
	return at, spec, ServicePort{Mode: texts["mode"], Name: texts["name"], AppProtocol: texts["app_protocol"]}, true
}

func wrongTarget(s string) string {
	if number, err := strconv.Atoi(s); err != nil || number < 1 || number > port.MaxPort {
		return "want the container's port, a number from 1 to 65535"
	}
	return ""
}

func wrongPublished(s string) string {
	if s == "" || wrongPorts(s) == "" {
		return ""
	}
	return "the host's port " + wrongPorts(s)
}

func wrongHostIP(s string) string {
	if s == "" || net.ParseIP(s) != nil {
		return ""
	}
	return "want an IP address such as 127.0.0.1 or ::1, without brackets"
}

func wrongProtocol(s string) string {
	if s == "" || isWord(s, "tcp", "udp", "sctp") {
		return ""
	}
	return "want tcp, udp or sctp"
}
