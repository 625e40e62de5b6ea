package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// composeNeed returns what a test compares of a need.
func composeNeed(p Port) string {
	ports := p.Ports.String()
	if p.Auto {
		ports = fmt.Sprintf("auto %s", p.Range)
	}
	return fmt.Sprintf("%d:%d %s %s %s/%s %s", p.At.Line, p.At.Column, p.Name, ports, p.Addresses[0], p.Protocols[0], p.Owner[0].Compose)
}

var composeCases = []struct {
	name, text, env string
	want            []string // needs or problems
}{
	{"short", "name: shop\nservices:\n  web:\n    ports: [\"8080:80\", '127.0.0.1:5353:53/udp', \"[::1]:8443:443\", \"80\", 90]\n", "", []string{"4:13 web-80 8080 any/tcp shop/web", "4:24 web-53 5353 127.0.0.1/udp shop/web", "4:49 web-443 8443 ::1/tcp shop/web"}},
	{"plain base 60", "name: shop\nservices:\n  web:\n    ports:\n      - 22:22\n", "", []string{"5:9 web 22 any/tcp shop/web"}},
	{"long", "name: shop\nservices:\n  web:\n    ports:\n      - target: 80\n        published: 8080\n        host_ip: ::1\n        protocol: udp\n      - {target: 81}\n", "", []string{"6:20 web 8080 ::1/udp shop/web"}},
	{"block", "name: shop\nservices:\n  Web:\n    ports: [8000-8003:9000-9003]\n", "", []string{"4:13 Web 8000-8003 any/tcp shop/Web"}},
	{"the engine chooses", "name: shop\nservices:\n  web:\n    ports: [8000-8003:80, 0:81, ':82', 70:70]\n", "", []string{"4:13 web-80 auto 8000-8003 any/tcp shop/web", "4:40 web-70 70 any/tcp shop/web"}},
	{"the engine chooses from a range", "name: shop\nx-portcheck: {range: 9000-9099, exclude: 8001}\nservices:\n  web:\n    ports:\n      - 127.0.0.1:8000-8003:80/udp\n      - {target: 80, published: 8000-8003, host_ip: 127.0.0.1, protocol: udp}\n      - ${NONE:-8000-8003}:81\n      - 8000-8003:81\n      - 8000:81\n      - 8000-8003:82\n", "", []string{
		"6:9 web-80 auto 8000-8003 127.0.0.1/udp shop/web", "8:9 web-81 auto 8000-8003 any/tcp shop/web", "10:9 web-81-tcp 8000 any/tcp shop/web", "11:9 web-82 auto 8000-8003 any/tcp shop/web",
	}},
	{"the engine chooses, and the port is to listen", "name: shop\nservices:\n  web:\n    x-portcheck: {expect: listening}\n    ports: [8000-8003:80, 70:70]\n", "", []string{"5:27 web 70 any/tcp shop/web"}},
	{"one number twice", "name: shop\nservices:\n  dns:\n    ports: [53:53/tcp, 53:53/udp, 53:53]\n", "", []string{"4:13 dns-53 53 any/tcp shop/dns", "4:24 dns-53-udp 53 any/udp shop/dns"}},
	{"variables", "name: ${P:-Sh.op}\nservices:\n  web:\n    ports:\n      - ${A}:80\n      - target: 81\n        published: ${NONE-${B:-81}}\n", "A=8080\n", []string{"5:9 web-80 8080 any/tcp shop/web", "7:20 web-81 81 any/tcp shop/web"}},
	{"anchors", "name: shop\nx-base: &base\n  ports: &p [\"8080:80\"]\nservices:\n  a:\n    <<: *base\n  b:\n    <<: [*base]\n    ports: [\"81:80\"]\n", "", []string{"3:14 a 8080 any/tcp shop/a", "9:13 b 81 any/tcp shop/b"}},
	{"profiles", "name: shop\nservices:\n  a:\n    profiles: [debug]\n    ports: [\"80:80\"]\n  b:\n    profiles: [test]\n    ports: [\"81:80\"]\n", "COMPOSE_PROFILES=test,x\n", []string{"8:13 b 81 any/tcp shop/b"}},
	{"project", "services:\n  a:\n    ports: [\"80:80\"]\n", "COMPOSE_PROJECT_NAME=_My.Shop\n", []string{"3:13 a 80 any/tcp myshop/a"}},
	{"required", "name: shop\nservices:\n  a:\n    ports: [\"${SECRET:?set it}:80\"]\n", "", []string{`compose.yaml:4:13: ports: variable "SECRET" is required and not set: "set it"`}},
	{"the reason is that of the file", "name: shop\nservices:\n  a:\n    ports: [\"${NONE?${SECRET}}:80\"]\n", "SECRET=hunter2\n", []string{`compose.yaml:4:13: ports: variable "NONE" is required and not set: "${SECRET}"`}},
	{"references to long values", "name: shop\nservices:\n  a:\n    ports: [\"$A$A:80\"]\n", "A=" + strings.Repeat("8", 4000) + "\n", []string{`compose.yaml:4:13: ports is longer than 4096 characters`}},
	{"values that grow", "name: shop\nservices:\n  a:\n    ports: [\"80:80\"]\n", "A=0123456789\n" + strings.Repeat("A=$A$A$A$A$A$A$A$A$A$A\n", 20), []string{".env:6:3: is larger than 1 MiB, the limit of a manifest"}},
	{"a value is not shown", "name: shop\nservices:\n  a:\n    ports: [\"${SECRET}:80\"]\n", "SECRET=hunter2\n", []string{`compose.yaml:4:13: ports: "${SECRET}:80" is not a published port: the host's port is not a number from 1 to 65535, and not a range such as 8000-8003`}},
	{"bad variable", "name: shop\nservices:\n  a:\n    ports: [\"${\"]\n", "", []string{`compose.yaml:4:13: ports: "${" is not a valid reference to a variable: want ${NAME} or ${NAME:-value}, and $$ for a dollar sign`}},
	{"not followed", "name: shop\ninclude: ['oci://example.com/a']\n", "", []string{
		`compose.yaml:2:11: include is not followed: write the ports into a portcheck.yml, or name the file that "docker compose config" prints`,
	}},
	{"a part of a block again", "name: shop\nservices:\n  a:\n    ports: ['8000-8003:80-83', '8001:81', '8002:81']\n", "", []string{"4:13 a-80 8000-8003 any/tcp shop/a", "4:43 a-81 8002 any/tcp shop/a"}},
	{"bad replicas", "name: shop\nservices:\n  a:\n    deploy: {replicas: many}\n    ports: [\"80:80\"]\n  b:\n    scale: -1\n", "", []string{
		`compose.yaml:4:24: replicas: "many" is not a number: want 0 or more`,
		`compose.yaml:7:12: scale: "-1" is not a number: want 0 or more`,
	}},
	{"keys that are no text", "name: shop\nservices:\n  1: {ports: [\"80:80\"]}\n  a: {labels: &l {true: *l}}\n  b: {profiles: [2]}\n", "", []string{
		`compose.yaml:3:3: "1" is a key that is not text: put it in quotes`,
		`compose.yaml:4:19: "true" is a key that is not text: put it in quotes`,
		`compose.yaml:4:25: alias "l" stands for a value that contains it: a value can't contain itself`,
		`compose.yaml:5:18: profiles: "2" is a number: put it in quotes to make it text`,
	}},
	{"two numbers of replicas", "name: shop\nservices:\n  a:\n    scale: 2\n    deploy: {replicas: 0}\n    ports: [\"80:80\"]\n", "", []string{"compose.yaml:4:12: scale: deploy.replicas has another number: write one of them"}},
	{"none", "name: shop\nservices:\n  a: {image: x}\n", "", []string{"compose.yaml:1:1: no service publishes a fixed port, such as ports: [\"8080:80\"]: there is nothing to check"}},
	{"bad .env", "name: shop\nservices:\n  a:\n    ports: [\"80:80\"]\n", "A B\n", []string{".env:1:1: not a line of a .env file: want NAME=value"}},
	{"bad names", "name: _\nservices:\n  a b:\n    ports: [\"80:80\"]\n", "", []string{
		"compose.yaml:1:1: the project has no valid name: set name, or COMPOSE_PROJECT_NAME",
		`compose.yaml:3:3: services: "a b" is not a name of a service: want 1 to 63 of a-z, A-Z, 0-9, "_", "." and "-", starting with a letter or digit`,
	}},
	{"no target", "name: shop\nservices:\n  a:\n    ports: [{published: 80}]\n", "", []string{"compose.yaml:4:13: ports: target is missing: want the container's port"}},
	{"published without a value", "name: shop\nservices:\n  a:\n    ports:\n      - target: 80\n        published:\n", "", []string{"compose.yaml:6:19: published has no value: want text"}},
	{"reset leaves what is merged", "name: shop\nx-a: &a {ports: ['80:80']}\nservices:\n  a:\n    <<: *a\n    ports: !reset []\n", "", []string{"2:18 a 80 any/tcp shop/a"}},
	{"too many ports", "name: shop\nservices:\n  a:\n    ports: [1-65535, 1-65535, 1-65535]\n", "", []string{"compose.yaml:4:22: more than 65,536 ports in total, the limit of a run"}},
	{"x-portcheck", "name: shop\nx-portcheck: {range: 8000..8010, service: web, wait: '${WAIT}', allow: !x [nat]}\nservices:\n  a:\n    x-portcheck: {env: A, expect: reachable, owner: nginx, wait: 5s}\n    ports: [\"80:80\", {target: 81, published: 81, x-portcheck: {}}]\n  b: {x-portcheck: web}\n  c: {x-portcheck: }\n", "", []string{
		`compose.yaml:2:22: range: "8000..8010" is not a port: a range is written as 8000-8010`,
		`compose.yaml:2:34: unknown key "service": want host, range, exclude, wait, allow or targets`,
		`compose.yaml:2:54: x-portcheck: "${WAIT}" contains a dollar sign: nothing is interpolated here, write the value out`,
		`compose.yaml:2:72: tags are not supported: remove the tag, or quote text that starts with !`,
		`compose.yaml:5:24: env: the service publishes 2 ports, and a variable is for one: remove env`,
		`compose.yaml:5:35: expect: "reachable" is not allowed: want free or listening`,
		`compose.yaml:5:53: owner: want a mapping such as {process: nginx}, not text`,
		`compose.yaml:5:60: unknown key "wait": want range, severity, env, owner or expect`,
		`compose.yaml:6:50: x-portcheck has no effect here: it belongs to the top of the file or to a service`,
		`compose.yaml:7:20: x-portcheck: want a mapping (key: value), not text`,
		`compose.yaml:8:20: x-portcheck has no value: want a mapping (key: value)`,
	}},
	{"x-portcheck with an alias to itself", "name: shop\nx-portcheck: &x {range: [*x]}\n", "", []string{
		`compose.yaml:2:14: range: want a number from 1 to 65535 or a block such as "8000-8003", not a mapping`,
		"compose.yaml:2:25: nested deeper than 50 levels, the limit of a manifest",
		`compose.yaml:2:26: alias "x" stands for a value that contains it: a value can't contain itself`,
	}},
	{"cyclic", "name: shop\nservices: &s\n  <<: [*s, *s, *s]\n", "", []string{"compose.yaml:2:11: nested deeper than 50 levels, the limit of a manifest"}},
}

func TestCompose(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range composeCases {
		t.Run(c.name, func(t *testing.T) {
			writeCompose(t, c.text, c.env)
			all, found := Load([]string{"compose.yaml"}, nil, Options{})
			got := strings.Split(strings.TrimSuffix(lines(found), "\n"), "\n")
			for _, m := range all {
				got = nil
				for _, p := range m.Ports {
					got = append(got, composeNeed(p))
				}
			}
			if c.name == "cyclic" && len(got) > 1 {
				got = got[:1]
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func writeCompose(t *testing.T, text, env string) {
	t.Helper()
	for name, content := range map[string]string{"compose.yaml": text, ".env": env} {
		if err := os.WriteFile(filepath.Clean(name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzCompose(f *testing.F) {
	for _, c := range composeCases {
		f.Add([]byte(c.text))
	}
	f.Add([]byte("\"0\r\n"))
	f.Add([]byte("---"))
	for _, p := range append(documentProjects, nastyProjects...) {
		f.Add([]byte(p.files["compose.yaml"]))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, found := parseCompose(stdinName, data, Options{})
		for _, p := range found {
			checkProblem(t, p.Problem, data)
		}
		if len(found) == 0 {
			checkManifest(t, m)
		}
	})
}
