package config

import (
	"strings"
	"testing"
)

// portEntries are entries of ports, and what is wrong with them; "" if nothing is.
var portEntries = []struct{ entry, want string }{
	{"'localhost:8080:80'", `ports: "localhost:8080:80" is not a published port: the host's address is not an IP address: want one such as 127.0.0.1, or none for all addresses`},
	{"'*:8080:80'", "the host's address is not an IP address"},
	{"'1.2.3:8080:80'", "the host's address is not an IP address"},
	{"'::8080:80'", "the host's address is not an IP address"},
	{"'[x]:8080:80'", "the host's address is not an IP address: want one such as [::1]"},
	{"'[fe80::1%eth0]:80:80'", "the host's address has a zone, which Compose does not take"},
	{"'fe80::1%eth0:80:80'", "the host's address has a zone, which Compose does not take"},
	{"'[::ffff:127.0.0.1]:80:80'", "the host's address is not supported: want one such as 127.0.0.1"},
	{"8080:80:90", "it has three ports: want HOST:CONTAINER, with an IP address before them or none"},
	{"'[::1]:80:80:80'", "it has three ports"},
	{"8080:80/http", "the protocol is unknown: want /tcp, /udp or /sctp"},
	{"8080:80/tcp/udp", "the protocol is unknown: want /tcp, /udp or /sctp"},
	{"8080:80:tcp", "the protocol comes after a slash: want HOST:CONTAINER/udp"},
	{"8080/udp:80", "the protocol belongs to the end: want HOST:CONTAINER/udp"},
	{"'80:'", "the container's port is missing: want HOST:CONTAINER"},
	{"'80:/udp'", "the container's port is missing: want HOST:CONTAINER"},
	{"'127.0.0.1:80'", "the port of the host or of the container is missing: want HOST_IP:HOST:CONTAINER, or HOST_IP::CONTAINER if the engine may choose"},
	{"'[::1]:80'", "the port of the host or of the container is missing: want [HOST_IP]:HOST:CONTAINER"},
	{"'[::1:80:80'", "the bracket of the host's address is not closed"},
	{"70000:80", "the host's port is above 65535: want 1 to 65535"},
	{"'[::1]:70000:80'", "the host's port is above 65535: want 1 to 65535"},
	{"80:70000", "the container's port is above 65535: want 1 to 65535"},
	{"70000", "the container's port is above 65535: want 1 to 65535"},
	{"-1", "the container's port is not a number from 1 to 65535"},
	{"-1:80", "the host's port is not a number from 1 to 65535"},
	{"http:80", "the host's port is not a number from 1 to 65535, and not a range such as 8000-8003"},
	{"80:http", "the container's port is not a number"},
	{"'$$80:80'", "the host's port is not a number"},
	{"８０:80", "the host's port is not a number"},
	{"80-:80", "the host's port is not a number"},
	{"80-90-100:80", "the host's port is not a number"},
	{"8001-8000:80", "the host's port is a range that goes backwards: want the lower port first"},
	{"8000-8010:80-85", "the two ranges have different lengths: want as many ports of the host as of the container, or one of the container"},
	{"8000:80-81", "the two ranges have different lengths"},
	{"80:0", "the container's port is 0: want 1 to 65535"},
	{"0", "the container's port is 0: want 1 to 65535"},
	{"'8080 :80'", "it contains a blank: want [HOST_IP:]HOST:CONTAINER[/PROTOCOL]"},
	{"'8080 80'", "it contains a blank"},
	{"'8080, 8081'", "want one entry for each port, or a range such as 8000-8003:8000-8003"},
	{"'8080,8081:80'", "want one entry for each port"},
	{"web", "want [HOST_IP:]HOST:CONTAINER[/PROTOCOL] with ports or ranges of equal length"},
	{"''", "it is empty: want [HOST_IP:]HOST:CONTAINER[/PROTOCOL]"},
	{"80.5", `ports: want a text such as "8080:80", or a mapping with target and published, not a number`},
	{"true", "and published, not a boolean"},
	{"[80]", "and published, not a list"},
	{"~", `ports has no value: want a text such as "8080:80"`},
	{"{published: 80}", "ports: target is missing: want the container's port"},
	{"{host_ip: 1.1.1.1}", "ports: target is missing: want the container's port"},
	{"{target: 80-81, published: 80-81}", `target: "80-81" is not valid here: want the container's port, a number from 1 to 65535`},
	{"{target: web, published: 80}", `target: "web" is not valid here`},
	{"{target: '', published: 80}", `target: "" is not valid here`},
	{"{target: 70000, published: 80}", `target: "70000" is not valid here`},
	{"{target: , published: 80}", "target has no value"},
	{"{target: 80, published: http}", `published: "http" is not valid here: the host's port is not a number from 1 to 65535, and not a range such as 8000-8003`},
	{"{target: 80, published: '81:82'}", `published: "81:82" is not valid here`},
	{"{target: 80, published: 80.5}", `published: "80.5" is not valid here`},
	{"{target: 80, published: 70000}", `published: "70000" is not valid here: the host's port is above 65535`},
	{"{target: 80, published: 90-80}", "the host's port is a range that goes backwards"},
	{"{target: 80, published: -1}", `published: "-1" is not valid here`},
	{"{target: 80, published: [80]}", "published: want text, not a list"},
	{"{target: 80, published: }", "published has no value"},
	{"{target: 80, published: 80, host_ip: localhost}", `host_ip: "localhost" is not valid here: want an IP address such as 127.0.0.1 or ::1, without brackets`},
	{"{target: 80, published: 80, host_ip: '[::1]'}", `host_ip: "[::1]" is not valid here`},
	{"{target: 80, published: 80, protocol: http}", `protocol: "http" is not valid here: want tcp, udp or sctp`},
	{"{target: 80, publish: 80}", `unknown key "publish": did you mean "published"? want target, published, host_ip, protocol, mode, name or app_protocol`},

	{"':80'", ""},
	{"'127.0.0.1::80'", ""},
	{"'::1:8080:80'", ""},
	{"'[::1]::80'", ""},
	{"':8080:80'", ""},
	{"+8080:+80", ""},
	{"0x50", ""},
	{"80/", ""},
	{"8080:80/TCP", ""},
	{"!foo 8080:80", ""},
	{"!!str 8080:80", ""},
	{"!!int '8080'", ""},
	{"'${NONE}:80'", ""},
	{"{target: 80, published: ''}", ""},
	{"{target: 80, published: 0}", ""},
	{"{target: 80, published: 8080-8081, x-note: y, mode: host, name: a, app_protocol: http}", ""},
}

// stricter are entries that Compose's loader takes and the engine refuses or ignores.
var stricter = []string{
	"'[::ffff:127.0.0.1]:80:80'", "{target: 70000, published: 80}", "{target: 80, published: http}", "{target: 80, published: '81:82'}", "{target: 80, published: 70000}",
	"{target: 80, published: 90-80}", "{target: 80, published: -1}", "{target: 80, published: 80, protocol: http}",
}

func TestPortEntries(t *testing.T) {
	silence(t)
	strict := map[string]bool{}
	for _, entry := range stricter {
		strict[entry] = true
	}
	for _, c := range portEntries {
		text := "services:\n  web:\n    ports:\n      - 1:1\n      - " + c.entry + "\n"
		_, found := ourPorts(text, "")
		got := lines(withoutKinds(found))
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || strings.Count(got, "\n") > 1 || got != "" && !strings.HasPrefix(got, "-:5:") {
			t.Errorf("%s: got %q, want %q", c.entry, got, c.want)
		}
		if strict[c.entry] {
			if _, _, err := composePorts(t, text, ""); err != nil {
				t.Errorf("%s: Compose refuses it as well", c.entry)
			}
			continue
		}
		compareWithCompose(t, text, "")
	}
}

// What is wrong with an entry is said without the values of its variables.
func TestPortEntriesShowNoValues(t *testing.T) {
	for _, value := range []string{"hunter", "hunter:1:1", "1:hunter", "1:1/hunter", "[hunter]:1:1", "[hunter", "hunter, 2", "1:1:hunter", "::ffff:1.2.3.4"} {
		env := func(name string) (string, bool) { v, ok := map[string]string{"S": value}[name]; return v, ok }
		for _, entry := range []string{"'${S}'", "'${S}:80'", "'80:${S}'", "'[${S}]:80:80'", "{target: '${S}', published: 80}", "{target: 80, published: '${S}'}", "{target: 80, published: 80, host_ip: '${S}'}", "{target: 80, published: 80, protocol: '${S}'}"} {
			_, found := parseCompose(stdinName, []byte("services: {web: {ports: ["+entry+"]}}\n"), Options{Getenv: env})
			if got := lines(withoutKinds(found)); strings.Contains(got, "hunter") || strings.Contains(got, "1.2.3") {
				t.Errorf("%s with %q: %s", entry, value, got)
			}
		}
	}
}
