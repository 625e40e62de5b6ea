package config

import (
	"strings"
	"testing"
)

// nastyProjects mix what Compose has: extends, include, overrides, profiles, anchors,
// merge keys, tags and nested variables.
var nastyProjects = []struct {
	about string
	files map[string]string
	more  []string
}{
	{"a microservice template", map[string]string{
		"compose.yaml": "x-defaults: &defaults\n  image: x\n  restart: always\n  ports: &ports ['${BASE:-${NONE:-8}}000:80']\n" +
			"x-debug: &debug\n  profiles: ['${NONE-}', debug]\n  ports: ['9229:9229']\n" +
			"services:\n  a:\n    <<: *defaults\n  b:\n    <<: [*defaults, *debug]\n    ports: ['8001:80']\n  c:\n    <<: [*debug, *defaults]\n    profiles: !reset []\n  d:\n    image: y\n    ports: *ports\n    profiles: [debug]\n",
		"b.yml": "services:\n  d:\n    profiles: !override ['']\n  a:\n    ports: !override ['${A}:80']\n",
	}, []string{"b.yml"}},
	{"extends over an include with an override", map[string]string{
		"compose.yaml":    "include:\n  - path: [infra/base.yml, infra/dev.yml]\n    project_directory: infra\nservices:\n  api:\n    extends: {file: infra/base.yml, service: gateway}\n    ports: ['7000:7000']\n  web:\n    extends: gateway2\n",
		"infra/base.yml":  "services:\n  gateway:\n    image: x\n    ports: ['${GW:-6000}:80']\n  gateway2:\n    extends: gateway\n    ports: ['6002:80']\n",
		"infra/dev.yml":   "services:\n  gateway2:\n    ports: !override ['6003:80']\n",
		"infra/" + ".env": "GW=6001\n",
	}, nil},
	{"a chain of extends through files and overrides", map[string]string{
		"compose.yaml": "services:\n  a:\n    extends: {file: one/1.yml, service: s}\n",
		"one/1.yml":    "services:\n  s:\n    extends: {file: ../two/2.yml, service: s}\n    ports: ['1001:1']\n",
		"two/2.yml":    "services:\n  s:\n    extends: {service: t}\n    ports: ['1002:1']\n  t:\n    extends: {file: 3.yml, service: u}\n    ports: !override ['1003:1']\n",
		"two/3.yml":    "services:\n  u:\n    image: x\n    ports: ['1004:1']\n    network_mode: host\n    expose: ['1005']\n",
		"b.yml":        "services:\n  a:\n    network_mode: bridge\n    ports: ['1006:1']\n",
	}, []string{"b.yml"}},
	{"extends what resets, in two layers", map[string]string{
		"compose.yaml": "services:\n  a: {image: x, ports: ['1:1'], expose: ['11'], network_mode: host}\n  b: {extends: a, network_mode: !reset null}\n  c: {extends: b, ports: !reset []}\n  d: {extends: c, ports: ['4:4'], network_mode: host}\n",
		"b.yml":        "services:\n  b: {ports: ['2:2']}\n  c: {ports: ['3:3']}\n  d: {expose: !override ['12', '13-14/udp']}\n",
	}, []string{"b.yml"}},
	{"merge keys of merge keys", map[string]string{
		"compose.yaml": "x-1: &one {image: x, ports: ['1:1'], expose: ['5']}\nx-2: &two {<<: *one, ports: ['2:2']}\nx-3: &three {<<: [*two, *one], network_mode: host}\nservices:\n  a: {<<: *three}\n  b: {<<: *three, network_mode: bridge}\n  c: {<<: [*one, *three], expose: ['6', '7']}\n",
	}, nil},
	{"a merge key that is a list by an alias", map[string]string{
		"compose.yaml": "x-1: &one {ports: ['1:1']}\nx-2: &two {image: x}\nx-all: &all [*one, *two]\nservices:\n  a:\n    <<: *all\n",
	}, nil},
	{"an anchor of a whole service, extended", map[string]string{
		"compose.yaml": "services:\n  a: &a\n    image: x\n    ports: ['1:1']\n  b:\n    <<: *a\n    extends: {service: c}\n  c: {image: x, ports: ['3:3']}\n  d: *a\n",
	}, nil},
	{"anchors in the long syntax", map[string]string{
		"compose.yaml": "x-p: &p {target: 80, protocol: udp, host_ip: 127.0.0.1}\nservices:\n  a:\n    image: x\n    ports:\n      - <<: *p\n        published: '${NONE:-${A:-1}}'\n      - {<<: *p, published: 2, protocol: tcp}\n      - {<<: [{published: 3}, *p]}\n",
	}, nil},
	{"invalid: nested variables everywhere", map[string]string{
		"compose.yaml": "name: ${NONE:-shop}\nservices:\n  a:\n    image: x\n    ports:\n      - '${NONE:+1}${NONE-${EMPTY:-${A}}}:80${NONE:-/${EMPTY:-udp}}'\n      - '${EMPTY+127.0.0.1:}${A:+81}${NONE}:${b_1:+8}1'\n      - '${NONE:-[::1]:82:82}'\n      - '$$'\n",
	}, nil},
	{"nested variables everywhere that are valid", map[string]string{
		"compose.yaml": "services:\n  a:\n    image: x\n    environment: {X: '$$HOME ${NONE:-a:b} ${NONE:-{}}', Y: '${A?}'}\n    ports:\n      - '${NONE:+1}${NONE-${EMPTY:-${A}}}:80${NONE:-/${EMPTY:-udp}}'\n      - '${EMPTY+127.0.0.1:}${A:+81}${NONE}:${b_1:+8}1'\n      - '${NONE:-[::1]:82:82}'\n",
	}, nil},
	{"profiles by variables and overrides", map[string]string{
		"compose.yaml": "services:\n  a: {image: x, profiles: ['${NONE:-debug}'], ports: ['1:1']}\n  b: {image: x, profiles: ['${NONE}'], ports: ['2:2']}\n  c: {image: x, profiles: [debug], ports: ['3:3']}\n  d: {extends: c}\n  e: {extends: c, profiles: ['']}\n",
		"b.yml":        "services:\n  c: {profiles: ['']}\n",
	}, []string{"b.yml"}},
	{"a diamond of includes with different variables", map[string]string{
		"compose.yaml": "include:\n  - {path: a/c.yml}\n  - {path: b/c.yml, env_file: [b/x.env]}\n",
		"a/c.yml":      "include: [../shared/s.yml]\nservices:\n  a: {image: x, ports: ['${P:-1}:1']}\n", "a/" + ".env": "P=2001\nQ=2002\n",
		"b/c.yml": "include: [../shared/s.yml]\nservices:\n  b: {image: x, ports: ['${P:-1}:1']}\n", "b/x.env": "P=2003\nQ=2002\n",
		"shared/s.yml": "services:\n  s: {image: x, ports: ['${Q:-3}:1']}\n",
	}, nil},
	{"a diamond of includes that differ", map[string]string{
		"compose.yaml": "include:\n  - {path: a/c.yml}\n  - {path: b/c.yml}\n",
		"a/c.yml":      "include: [../shared/s.yml]\n", "a/" + ".env": "Q=2002\n",
		"b/c.yml": "include: [../shared/s.yml]\n", "b/" + ".env": "Q=2003\n",
		"shared/s.yml": "services:\n  s: {image: x, ports: ['${Q:-3}:1']}\n",
	}, nil},
	{"an override of what three levels include", map[string]string{
		"compose.yaml": "include: [1/a.yml]\nservices:\n  deep: {ports: ['9:9']}\n",
		"1/a.yml":      "include: [2/b.yml]\nservices:\n  deep: {expose: ['8']}\n", "1/2/b.yml": "include: [3/c.yml]\n", "1/2/3/c.yml": "services:\n  deep: {image: x, ports: ['${D:-7}:7'], network_mode: bridge}\n", "1/2/3/" + ".env": "D=77\n",
		"b.yml": "services:\n  deep: {ports: !override ['10:10']}\n---\nservices:\n  deep: {ports: ['11:11']}\n",
	}, []string{"b.yml"}},
	{"documents, includes and extends", map[string]string{
		"compose.yaml": "include: [i.yml]\nservices:\n  a: {image: x, ports: ['1:1']}\n---\nservices: !override\n  b: {image: x, ports: ['2:2']}\n---\ninclude: [i.yml]\nservices:\n  c: {extends: inc, ports: ['3:3']}\n",
		"i.yml":        "services:\n  inc: {image: x, ports: ['5:5']}\n",
	}, nil},
	{"the same port in many ways", map[string]string{
		"compose.yaml": "services:\n  a:\n    image: x\n    ports: ['80:80', 80:80/tcp, {target: 80, published: 80}, {target: '80', published: '80', protocol: tcp, mode: ingress}, 0.0.0.0:80:80, '80:80/udp', '79-81:79-81']\n",
		"b.yml":        "services:\n  a:\n    ports: ['80:80', '127.0.0.1:80:80', {target: 80, published: 80, host_ip: 127.0.0.1}, '80:81']\n",
	}, []string{"b.yml"}},
	{"invalid: empty and null values", map[string]string{
		"compose.yaml": "include: []\nservices:\n  a: {image: x, ports: []}\n  b: {image: x, ports: , expose: , profiles: [], deploy: , network_mode: ''}\n  c: {image: x, ports: ['1:1'], extends: }\n",
	}, nil},
	{"empty values", map[string]string{
		"compose.yaml": "include: []\nservices:\n  a: {image: x, ports: []}\n  b: {image: x, profiles: [], network_mode: '', ports: ['1:1']}\n",
	}, nil},
	{"null over what is there", map[string]string{
		"compose.yaml": "services:\n  a: {image: x, ports: ['1:1'], profiles: [debug]}\n  b: {image: x, ports: ['2:2']}\n",
		"b.yml":        "services:\n  a: {profiles: }\n  b:\n",
	}, []string{"b.yml"}},
	{"invalid: extends a service of an override that comes later", map[string]string{
		"compose.yaml": "services:\n  a: {image: x, ports: ['1:1'], extends: b}\n", "b.yml": "services:\n  b: {image: x}\n",
	}, []string{"b.yml"}},
	{"invalid: a service that is a list", map[string]string{"compose.yaml": "services:\n  a: {image: x, ports: ['1:1']}\n  b: [1]\n"}, nil},
	{"invalid: a service that is text", map[string]string{"compose.yaml": "services:\n  a: {image: x, ports: ['1:1']}\n  b: text\n"}, nil},
	{"invalid: services as a list", map[string]string{"compose.yaml": "services: [{image: x}]\n"}, nil},
	{"invalid: services twice", map[string]string{"compose.yaml": web + "services: {}\n"}, nil},
	{"invalid: a service twice", map[string]string{"compose.yaml": web + "  web: {image: x}\n"}, nil},
	{"invalid: an override of a list by text", map[string]string{"compose.yaml": web, "b.yml": "services:\n  web: {ports: '1:1'}\n"}, []string{"b.yml"}},
	{"invalid: an override of a service by text", map[string]string{"compose.yaml": web, "b.yml": "services:\n  web: text\n"}, []string{"b.yml"}},
	{"invalid: extends a list", map[string]string{"compose.yaml": web + "    extends: [a]\n"}, nil},
	{"invalid: extends without a service", map[string]string{"compose.yaml": web + "    extends: {file: compose.yaml}\n"}, nil},
	{"invalid: profiles as text", map[string]string{"compose.yaml": web + "    profiles: debug\n"}, nil},
	{"invalid: a profile with a blank", map[string]string{"compose.yaml": web + "    profiles: ['a b']\n"}, nil},
	{"invalid: a number as a profile", map[string]string{"compose.yaml": web + "    profiles: [1]\n"}, nil},
	{"invalid: a name that is a number", map[string]string{"compose.yaml": "name: 1\n" + web}, nil},
	{"invalid: a network mode that is a list", map[string]string{"compose.yaml": web + "    network_mode: [host]\n"}, nil},
	{"include of a mapping with an unknown key", map[string]string{"compose.yaml": "include: [{path: a.yml, paht: b}]\n", "a.yml": web}, nil},
	{"invalid: a cycle of anchors", map[string]string{"compose.yaml": "services:\n  web: &w\n    image: x\n    ports: ['1:1']\n    labels: {a: *w}\n"}, nil},
	{"a key of the service that does not exist", map[string]string{"compose.yaml": web + "    x-foo: {ports: ['1:1']}\n"}, nil},
	{"other resources", map[string]string{"compose.yaml": web + "networks: {default: {ipam: {config: [{subnet: 10.0.0.0/8}]}}}\nvolumes: {a: , b: {}}\nconfigs: {c: {content: '$$x'}}\nsecrets: {s: {environment: A}}\n"}, nil},
	{"a version and a comment before", map[string]string{"compose.yaml": "# x\nversion: '3.8'\n" + web}, nil},
	{"CRLF and a BOM", map[string]string{"compose.yaml": "\ufeff" + strings.ReplaceAll(web, "\n", "\r\n")}, nil},
	{"dots in names", map[string]string{"compose.yaml": "services:\n  a.b: {image: x, ports: ['1:1']}\n  a.c: {extends: a.b, ports: !override ['2:2']}\n", "b.yml": "services:\n  a.b: {ports: !override ['3:3']}\n  a.c: {ports: !reset []}\n"}, []string{"b.yml"}},
	{"names of YAML's words", map[string]string{"compose.yaml": "services:\n  yes: {image: x, ports: ['1:1']}\n  on: {image: x, ports: ['3:3']}\n"}, nil},
	{"invalid: a null name", map[string]string{"compose.yaml": web + "  null: {image: x}\n"}, nil},
	{"invalid: a boolean name", map[string]string{"compose.yaml": web + "  true: {image: x}\n"}, nil},
	{"invalid: a date as a name", map[string]string{"compose.yaml": web + "  2001-01-01: {image: x}\n"}, nil},
	{"invalid: a number as a key elsewhere", map[string]string{"compose.yaml": web + "x-map: {a: [{1: b}]}\n"}, nil},
	{"invalid: a number as a key by an alias", map[string]string{"compose.yaml": web + "x-a: [&n 1]\nx-map: {*n : b}\n"}, nil},
	{"invalid: a number as a key in what is extended", map[string]string{"compose.yaml": "services:\n  a: {extends: {file: b.yml, service: web}}\n", "b.yml": web + "x-map: {1: b}\n"}, nil},
	{"a number as a key in what is reset", map[string]string{"compose.yaml": web + "x-map: !reset {1: b}\n"}, nil},
	{"invalid: network mode is a number", map[string]string{"compose.yaml": web + "    network_mode: 1\n"}, nil},
	{"invalid: extends a number", map[string]string{"compose.yaml": web + "    extends: {service: 1}\n"}, nil},
	{"invalid: names that are numbers", map[string]string{"compose.yaml": "services:\n  1: {image: x, ports: ['1:1']}\n  '2': {image: x, ports: ['2:2']}\n"}, nil},
}

func TestNastyProjectsAreThoseOfCompose(t *testing.T) {
	silence(t)
	for _, p := range nastyProjects {
		t.Run(p.about, func(t *testing.T) {
			any := compareProjects(t, p.files, append([]string{"compose.yaml"}, p.more...)...)
			if any == strings.HasPrefix(p.about, "invalid") {
				t.Errorf("publishes ports: %t", any)
			}
		})
	}
}
