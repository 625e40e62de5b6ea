package config

import (
	"strings"
	"testing"
)

// documentProjects have several documents in a file, tags at unusual places, or
// variables in keys that portcheck does not read.
var documentProjects = []struct {
	about string
	files map[string]string
	more  []string
}{
	{"two documents", map[string]string{"compose.yaml": web + "---\nservices:\n  web:\n    ports: ['2:2']\n  db:\n    ports: ['5432:5432']\n"}, nil},
	{"three documents with a reset", map[string]string{"compose.yaml": web + "---\nservices:\n  web:\n    ports: !reset []\n---\nservices:\n  web:\n    ports: ['3:3']\n"}, nil},
	{"documents and an override", map[string]string{"compose.yaml": web + "---\nservices:\n  b:\n    ports: ['2:2']\n", "b.yml": "services:\n  b:\n    ports: !override ['3:3']\n---\nservices:\n  web: !reset\n"}, []string{"b.yml"}},
	{"documents that extend each other", map[string]string{"compose.yaml": web + "---\nservices:\n  b:\n    extends: c\n  c:\n    ports: ['2:2']\n---\nservices:\n  c:\n    ports: ['3:3']\n"}, nil},
	{"invalid: extends what another document has", map[string]string{"compose.yaml": web + "---\nservices:\n  b:\n    extends: web\n"}, nil},
	{"documents in what is included", map[string]string{"compose.yaml": "include: [a.yml]\n", "a.yml": web + "---\nservices:\n  web:\n    ports: ['2:2']\n"}, nil},
	{"a document that includes", map[string]string{"compose.yaml": web + "---\ninclude: [a.yml]\nservices:\n  web:\n    ports: !override ['4:4']\n", "a.yml": "services:\n  a:\n    ports: ['1:1']\n"}, nil},
	{"documents in a base", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: web}\n", "b.yml": web + "---\nservices:\n  web:\n    ports: ['2:2']\n"}, nil},
	{"documents in a base that reset", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: web}\n", "b.yml": web + "---\nservices:\n  web:\n    ports: !override ['2:2']\n"}, nil},
	{"documents in a base that extends", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: b}\n", "b.yml": web + "  b:\n    extends: web\n---\nservices:\n  b:\n    ports: ['2:2']\n"}, nil},
	{"an explicit start and end", map[string]string{"compose.yaml": "---\n" + web + "...\n"}, nil},
	{"invalid: an empty document at the end", map[string]string{"compose.yaml": web + "---\n"}, nil},
	{"invalid: an empty document at the start", map[string]string{"compose.yaml": "---\n---\n" + web}, nil},
	{"invalid: a document that is a list", map[string]string{"compose.yaml": web + "---\n- a\n"}, nil},
	{"an override without content", map[string]string{"compose.yaml": web, "b.yml": "# nothing\n"}, []string{"b.yml"}},
	{"invalid: an override of a start of a document", map[string]string{"compose.yaml": web, "b.yml": "---\n"}, []string{"b.yml"}},

	{"override on services", map[string]string{"compose.yaml": web, "b.yml": "services: !override\n  b:\n    ports: ['2:2']\n"}, []string{"b.yml"}},
	{"reset on services", map[string]string{"compose.yaml": web, "b.yml": "services: !reset\n  b:\n    ports: ['2:2']\n", "c.yml": "services:\n  c:\n    ports: ['3:3']\n"}, []string{"b.yml", "c.yml"}},
	{"override on services in an included file", map[string]string{"compose.yaml": "include:\n  - path: [a.yml, b.yml]\n" + web, "a.yml": "services:\n  a:\n    ports: ['1:1']\n", "b.yml": "services: !override\n  b:\n    ports: ['2:2']\n"}, nil},
	{"override on services beside include", map[string]string{"compose.yaml": web, "b.yml": "include: [a.yml]\nservices: !override\n  b:\n    ports: ['2:2']\n", "a.yml": "services:\n  a:\n    ports: ['1:1']\n"}, []string{"b.yml"}},
	{"override on services that extend", map[string]string{"compose.yaml": web, "b.yml": "services: !override\n  b:\n    extends: c\n  c:\n    ports: ['2:2']\n"}, []string{"b.yml"}},
	{"override on a service", map[string]string{"compose.yaml": web, "b.yml": "services:\n  web: !override\n    ports: ['2:2']\n"}, []string{"b.yml"}},
	{"override on a service that extends", map[string]string{"compose.yaml": web, "b.yml": "services:\n  web: !override\n    extends: b\n    ports: ['2:2']\n  b:\n    ports: ['3:3']\n"}, []string{"b.yml"}},
	{"override on a service without ports", map[string]string{"compose.yaml": web + "  b:\n    ports: ['3:3']\n", "b.yml": "services:\n  web: !override\n    image: y\n"}, []string{"b.yml"}},
	{"override in an override", map[string]string{"compose.yaml": web, "b.yml": "services:\n  web: !override\n    ports: !override ['2:2']\n"}, []string{"b.yml"}},
	{"reset in an override", map[string]string{"compose.yaml": web, "b.yml": "services:\n  web: !override\n    ports: !reset ['2:2']\n"}, []string{"b.yml"}},
	{"reset on an entry", map[string]string{"compose.yaml": "services:\n  web:\n    ports: ['1:1', !reset '2:2', !reset {target: 3, published: 3}, !override '4:4']\n"}, nil},
	{"reset on an entry by an alias", map[string]string{"compose.yaml": "x-p: [!reset &p '1:1', &q '2:2']\nservices:\n  web:\n    ports: [*p, *q]\n"}, nil},
	{"reset on an entry of profiles", map[string]string{"compose.yaml": "services:\n  web:\n    profiles: [!reset debug]\n    ports: ['2:2']\n"}, nil},
	{"reset on an entry in an override", map[string]string{"compose.yaml": web, "b.yml": "services:\n  web:\n    ports: [!reset '8080:80', '2:2']\n"}, []string{"b.yml"}},
	{"reset by an alias", map[string]string{"compose.yaml": web + "  b:\n    ports: ['3:3']\n", "b.yml": "x-r: &r !reset []\nservices:\n  web:\n    ports: *r\n"}, []string{"b.yml"}},
	{"override by an alias", map[string]string{"compose.yaml": web, "b.yml": "x-r: &r !override ['2:2']\nservices:\n  web:\n    ports: *r\n"}, []string{"b.yml"}},
	{"reset in what is merged", map[string]string{"compose.yaml": web + "  b:\n    ports: ['3:3']\n", "b.yml": "x-r: &r\n  ports: !reset []\nservices:\n  web:\n    <<: *r\n"}, []string{"b.yml"}},
	{"override in what is merged", map[string]string{"compose.yaml": web, "b.yml": "x-r: &r\n  ports: !override ['2:2']\nservices:\n  web:\n    <<: *r\n"}, []string{"b.yml"}},
	{"override in what is merged and one's own", map[string]string{"compose.yaml": web, "b.yml": "x-r: &r\n  ports: !override ['2:2']\nservices:\n  web:\n    <<: *r\n    ports: ['4:4']\n"}, []string{"b.yml"}},
	{"reset of a service's network mode", map[string]string{"compose.yaml": "services:\n  web:\n    network_mode: host\n    expose: ['1']\n    ports: ['2:2']\n", "b.yml": "services:\n  web:\n    network_mode: !reset\n"}, []string{"b.yml"}},

	{"invalid: required elsewhere", map[string]string{"compose.yaml": web + "    environment:\n      PASSWORD: ${PASSWORD:?set it}\n"}, nil},
	{"invalid: required in a list", map[string]string{"compose.yaml": web + "    command: [run, '${NONE?}']\n"}, nil},
	{"invalid: required at the top", map[string]string{"compose.yaml": "x-note: ${NONE:?}\n" + web}, nil},
	{"invalid: required in a service without its profile", map[string]string{"compose.yaml": web + "  b:\n    profiles: [debug]\n    image: ${NONE:?}\n"}, nil},
	{"invalid: required in an included file", map[string]string{"compose.yaml": "include: [a.yml]\n", "a.yml": web + "    hostname: ${NONE:?}\n"}, nil},
	{"invalid: required in a base", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: a.yml, service: web}\n", "a.yml": web + "  b:\n    image: ${NONE:?}\n"}, nil},
	{"invalid: a reference elsewhere", map[string]string{"compose.yaml": web + "    command: echo ${\n"}, nil},
	{"required elsewhere and set", map[string]string{"compose.yaml": web + "    command: echo ${A:?} $$1 $ ${NONE}\n"}, nil},
	{"required in what is reset", map[string]string{"compose.yaml": web + "    command: !reset ${NONE:?}\n    labels: !reset\n      a: ${\n"}, nil},
	{"required in a key", map[string]string{"compose.yaml": web + "x-${NONE:?}: 1\n"}, nil},
	{"a comment", map[string]string{"compose.yaml": web + "# ${NONE:?}\n"}, nil},
	{"set for what is included", map[string]string{"compose.yaml": "include: [sub/a.yml]\n", "sub/a.yml": web + "    hostname: ${HERE:?}\n", "sub/.env": "HERE=1\n"}, nil},
}

func TestDocumentsAreThoseOfCompose(t *testing.T) {
	silence(t)
	for _, p := range documentProjects {
		t.Run(p.about, func(t *testing.T) {
			files := map[string]string{}
			for name, text := range p.files {
				files[name] = strings.NewReplacer("hostname", "hostname", "hostname", "hostname").Replace(text)
			}
			any := compareProjects(t, files, append([]string{"compose.yaml"}, p.more...)...)
			if any == strings.HasPrefix(p.about, "invalid") {
				t.Errorf("publishes ports: %t", any)
			}
		})
	}
}
