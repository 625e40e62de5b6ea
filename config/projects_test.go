package config

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/internal/within"
)

// compareProjects compares the ports of a project of several files in a directory with
// those that Compose's loader finds. It reports whether there are any.
func compareProjects(t *testing.T, files map[string]string, names ...string) bool {
	t.Helper()
	dir := t.TempDir()
	writeFiles(t, dir, files)
	var configs []types.ConfigFile
	var paths []string
	for _, name := range names {
		paths = append(paths, filepath.Join(dir, name))
		configs = append(configs, types.ConfigFile{Filename: filepath.Join(dir, name)})
	}
	want, every, err := loadedPorts(t, dir, configs)
	if err != nil && strings.Contains(err.Error(), "Circular reference") {
		return false // it takes a file that is extended for the one that extends it
	}
	o := Options{Getenv: oracleLookup, Profiles: []string{""}, Project: "shop"}
	o.SetProject(paths)
	all, found := load(paths[:1], nil, o)
	found = withoutNone(found)
	var got []string
	for _, m := range all {
		got = portsOf(m)
		if err == nil {
			compareEveryPort(t, m, every)
		}
	}
	if (err == nil) != (len(found) == 0) || err == nil && !slices.Equal(got, want) {
		t.Errorf("got  %q, %v\nwant %q, %v, for", got, found, want, err)
		for _, name := range slices.Sorted(keysOf(files)) {
			t.Errorf("%s:\n%s", name, files[name])
		}
	}
	return err == nil && len(want) > 0
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// loadProject loads compose.yaml, in a new directory with these files.
func loadProject(t *testing.T, files map[string]string) ([]Manifest, []problem) {
	t.Helper()
	t.Chdir(t.TempDir())
	writeFiles(t, ".", files)
	return load([]string{"compose.yaml"}, nil, Options{})
}

// projectProblems are projects with errors, and their messages.
var projectProblems = []struct {
	about string
	files map[string]string
	want  string
}{
	{"a cycle of include", map[string]string{"compose.yaml": "include: [sub/a.yml]\n", "sub/a.yml": "include:\n  - ../compose.yaml\n" + web}, "sub/a.yml:2:5: include: \"../compose.yaml\" includes this file: a file can't include itself\n"},
	{"include without a path", map[string]string{"compose.yaml": "include: [{env_file: x}]\n" + web}, "compose.yaml:1:11: include: path is missing: want the file to include\n"},
	{"a cycle of extends", map[string]string{"compose.yaml": "services:\n  a:\n    extends: b\n  b:\n    extends: {service: a}\n"}, "compose.yaml:5:24: extends: \"a\" extends this service: a service can't extend itself\n"},
	{"a cycle of extends in two files", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: b}\n", "b.yml": "services:\n  b:\n    extends: {file: b.yml, service: b}\n"}, "b.yml:3:37: extends: \"b\" extends this service: a service can't extend itself\n"},
	{"extends no service", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml}\n"}, "compose.yaml:3:14: extends: service is missing: want the name of the service to extend\n"},
	{"extends twice in a base", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: a}\n", "b.yml": "services:\n  a:\n    extends: b\n  b: {ports: ['1:1']}\n---\nservices:\n  a: {}\n---\nservices:\n  a:\n    extends: {service: b}\n"}, "b.yml:11:5: extends: an earlier document of this file has it for this service as well: write it in one\n"},
	{"no such base", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: b}\n", "b.yml": web}, "compose.yaml:3:37: extends: there is no service \"b\" in that file\n"},
	{"a base that is no Compose file", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: b}\n  c:\n    extends: {file: b.yml, service: c}\n", "b.yml": "root:x:0:0\n"}, "b.yml:1:1: not a Compose file: want a mapping with services, not text\n"},
	{"a base with a list of services", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: b}\n", "b.yml": "services: [b]\n"}, "b.yml:1:11: \"services\": want a mapping (key: value), not a list\n"},
	{"a base without content", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: b}\n", "b.yml": "---\n"}, "b.yml:1:1: a document without content, which Compose does not take: remove the line ---, or write services after it\n"},
	{"no such base in a file with an error elsewhere", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: b}\n", "b.yml": "services: {c: {image: '${'}}\n"}, "b.yml:1:23: image: \"${\" is not a valid reference to a variable: want ${NAME} or ${NAME:-value}, and $$ for a dollar sign\ncompose.yaml:3:37: extends: there is no service \"b\" in that file\n"},
	{"no mapping", map[string]string{"compose.yaml": "- services\n"}, "compose.yaml:1:1: not a Compose file: want a mapping with services, not a list\n"},
	{"expose", map[string]string{"compose.yaml": "services:\n  a:\n    network_mode: host\n    expose: ['1:2']\n"}, "compose.yaml:4:14: expose: \"1:2\" is not a container's port: want PORT or FIRST-LAST, with /udp for UDP\n"},
	{"an error in a base that two extend", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: web}\n  b:\n    extends: {file: b.yml, service: web}\n", "b.yml": "services:\n  web:\n    ports: [x]\n"}, "b.yml:3:13: ports: \"x\" is not a published port: want [HOST_IP:]HOST:CONTAINER[/PROTOCOL] with ports or ranges of equal length\n"},
	{"an error in what is included", map[string]string{"compose.yaml": "include: [b.yml]\n", "b.yml": "services: {\n"}, "b.yml:1:11: not valid YAML: did not find expected node content: a value is missing, or text that starts with : (such as ::1) needs quotes\n"},
	{"no such file", map[string]string{"compose.yaml": "include: [b.yml]\n"}, "compose.yaml:1:11: include names \"b.yml\": no such file\n"},
	{"no such env_file", map[string]string{"compose.yaml": "include: [{path: b.yml, env_file: [y.env, x.env]}]\n", "b.yml": web, "y.env": ""}, "compose.yaml:1:43: env_file names \"x.env\": no such file\n"},
	{"no such file to extend, by a variable", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {service: a, file: '${SECRET}.yml'}\n", "." + "env": "SECRET=hunter2\n"}, "compose.yaml:3:33: extends names \"${SECRET}.yml\": no such file\n"},
	{"an empty document", map[string]string{"compose.yaml": web + "---\n"}, "compose.yaml:5:1: a document without content, which Compose does not take: remove the line ---, or write services after it\n"},
	{"variables elsewhere", map[string]string{"compose.yaml": web + "    environment:\n      - A=${NONE:?set it}\n      - ${\n    labels: {b: '${LONG:?x}'}\n"}, "compose.yaml:6:9: environment: variable \"NONE\" is required and not set: \"set it\"\ncompose.yaml:7:9: environment: \"${\" is not a valid reference to a variable: want ${NAME} or ${NAME:-value}, and $$ for a dollar sign\ncompose.yaml:8:17: b: variable \"LONG\" is required and not set: \"x\"\n"},
	{"a manifest as a Compose file", map[string]string{"compose.yaml": "version: 1\napp: shop\nports: [{name: web, port: 80}]\n"}, "compose.yaml:1:1: no Compose file but a manifest of portcheck: name it without --compose-file and --source\n"},
	{"a directory", map[string]string{"compose.yaml": "include: [sub]\n", "sub/x": ""}, "compose.yaml:1:11: include names \"sub\": is a directory: name a file in it, or use --recursive\n"},
	{"a quote that is not closed in .env", map[string]string{"compose.yaml": web, "." + "env": "A=1\nB='2\n"}, ".env:2:3: this quote is not closed: write another one after the value\n"},
	{"no reference in .env", map[string]string{"compose.yaml": web, "." + "env": "A=${\n"}, ".env:1:3: the variables in this value can't be replaced: want ${NAME} or ${NAME:-value}, or single quotes around text with a dollar sign\n"},
	{"a bad .env", map[string]string{"compose.yaml": "include: [sub/b.yml]\n", "sub/b.yml": web, "sub/" + ".env": "A B\n"}, "sub/.env:1:1: not a line of a .env file: want NAME=value\n"},
}

func TestProjectProblems(t *testing.T) {
	for _, c := range projectProblems {
		t.Run(c.about, func(t *testing.T) {
			if _, found := loadProject(t, c.files); lines(withoutKinds(found)) != c.want {
				t.Errorf("got\n%swant\n%s", lines(withoutKinds(found)), c.want)
			}
		})
	}
}

// Needs have the position and the variable of the entry where it was written.
func TestProjectPositionsAndVariables(t *testing.T) {
	all, found := loadProject(t, map[string]string{
		"compose.yaml":  "name: shop\ninclude: [sub/in.yml]\nservices:\n  a:\n    extends: {file: base.yml, service: web}\n    ports: ['${WEB_PORT:-81}:81']\n",
		"sub/in.yml":    "services:\n  in:\n    ports:\n      - {target: 1, published: '${IN_PORT-82}'}\n      - '127.0.0.1:$SHORT:3/udp'\n      - '${ALL:-127.0.0.1:84:4}'\n      - '8${PART:-5}:5'\n      - '${PLUS:+86}${X:-86}:6'\n      - '${WEB_PORT:-87}:7'\n      - '${ADDRESS:-127.0.0.1:88}:8'\n      - '${RANGE:-8000-8003}:9'\n",
		"sub/" + ".env": "SHORT=83\n",
		"base.yml":      web,
	})
	if len(found) > 0 {
		t.Fatal(lines(withoutKinds(found)))
	}
	var got strings.Builder
	for _, p := range all[0].Ports {
		fmt.Fprintf(&got, "%s %s %s %q\n", p.At, p.Name, p.Ports, p.Env)
	}
	want := `base.yml:4:13 a-80 8080 ""
compose.yaml:6:13 a-81 81 "WEB_PORT"
sub/in.yml:4:32 in-1 82 "IN_PORT"
sub/in.yml:5:9 in-3 83 "SHORT"
sub/in.yml:6:9 in-4 84 ""
sub/in.yml:7:9 in-5 85 ""
sub/in.yml:8:9 in-6 86 ""
sub/in.yml:9:9 in-7 87 ""
sub/in.yml:10:9 in-8 88 ""
sub/in.yml:11:9 in-9 8000 "RANGE"
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

// In CI, whoever wrote a file must not choose files elsewhere.
func TestProjectStaysWithinBounds(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFiles(t, ".", map[string]string{"out/secret.yml": web, "checkout/common/base.yml": web, "checkout/a/x.env": "", "out/" + ".env": "A B\n"})
	if err := os.Symlink("../../out/secret.yml", "checkout/a/link.yml"); err != nil {
		testbed.Missing(t, err.Error())
	}
	o := Options{Bounds: []within.Dir{bound(t, "checkout")}}
	absolute := "/etc/passwd"
	if runtime.GOOS == "windows" {
		absolute = "C:" + absolute
	}
	const refused = ", which is outside of the checkout: in CI, a file names only files there and below the project's directory\n"
	for text, want := range map[string]string{
		"include: [../../out/secret.yml]\n":                                              `checkout/a/compose.yaml:1:11: include names "../../out/secret.yml"` + refused,
		"include: ['" + absolute + "']\n":                                                `checkout/a/compose.yaml:1:11: include names "` + absolute + `"` + refused,
		"include: [{path: ../common/base.yml, env_file: '" + absolute + "'}]\n":          `checkout/a/compose.yaml:1:48: env_file names "` + absolute + `"` + refused,
		"services:\n  a:\n    extends: {file: ../../out/secret.yml, service: web}\n":     `checkout/a/compose.yaml:3:21: extends names "../../out/secret.yml"` + refused,
		"include: [../common/base.yml]\n":                                                "",
		"services:\n  a:\n    extends: {file: ../common/base.yml, service: web}\n":       "",
		"include: [{path: ../common/base.yml, project_directory: ../../out}]\n":          `checkout/a/compose.yaml:1:57: project_directory names "../../out"` + refused,
		"include: [{path: ../common/base.yml, project_directory: ../common}]\n":          "",
		"services:\n  a:\n    extends: {file: link.yml, service: web}\n    ports: [x]\n": "checkout/a/compose.yaml:3:21: extends names \"link.yml\": a link leads out of",
	} {
		writeFiles(t, ".", map[string]string{"checkout/a/compose.yaml": text})
		_, found := load([]string{"checkout/a/compose.yaml"}, nil, o)
		if got := lines(withoutKinds(found)); got != want && (want == "" || !strings.HasPrefix(got, want)) {
			t.Errorf("%s:\ngot  %swant %s", text, got, want)
		}
	}
}

// Errors about a file outside of the project's work tree or directory quote nothing of
// it: whoever wrote the project may not be allowed to read it.
func TestProjectQuotesNothingOutside(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFiles(t, ".", map[string]string{
		"x": "root:x:0:0:secret\n", "x.yml": "services: {web: {ports: ['secret:x', secret: 1]}, 'a secret': {}}\nsecret: {secret: [}\n",
		"types.yml": "services: {web: {ports: [{published: secret}, 'secret:1'], expose: secret}}\n", "repo/inside.yml": "services: {web: {ports: ['visible:1']}}\n",
	})
	if err := os.MkdirAll("repo/.git", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"include: [%s]\n", "services: {a: {extends: {file: %s, service: web}, ports: ['1:1']}}\n",
		"include: [{path: ../inside.yml, env_file: %s}]\nservices: {a: {ports: ['1:1']}}\n",
	} {
		for _, name := range []string{"../../x", "../../x.yml", "../../types.yml"} {
			writeFiles(t, ".", map[string]string{"repo/p/compose.yaml": fmt.Sprintf(text, name)})
			_, found := Load([]string{"repo/p/compose.yaml"}, nil, Options{})
			if got := lines(found); got == "" || strings.Contains(got, "secret") {
				t.Errorf("%s %s:\n%s", text, name, got)
			}
		}
	}
	writeFiles(t, ".", map[string]string{"repo/p/compose.yaml": "include: [../inside.yml]\n"})
	if _, found := Load([]string{"repo/p/compose.yaml"}, nil, Options{}); !strings.Contains(lines(found), "visible") {
		t.Errorf("of the work tree: %s", lines(found))
	}
}

// A variable that is required by what portcheck does not read is no error if the
// environment is not read: Compose may have it.
func TestWithheldVariables(t *testing.T) {
	for text, want := range map[string]string{
		web + "    environment: ['A=${NONE:?}']\n":   "",
		web + "    environment: ['A=${']\n":          "is not a valid reference",
		"services: {a: {ports: ['${NONE:?x}:1']}}\n": `ports: variable "NONE" is required`,
	} {
		_, found := parseCompose(stdinName, []byte(text), Options{Withheld: true})
		if got := lines(withoutKinds(found)); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

// A project of files that include and extend each other many times ends soon.
func TestHostileProjectsEndSoon(t *testing.T) {
	wide := "include: [" + strings.Repeat("b.yml, ", 5000) + "]\n"
	var chain, same strings.Builder
	chain.WriteString("services:\n")
	same.WriteString("services:\n  a: {ports: [" + strings.Repeat("'1:1',", 4000) + "]}\n")
	for i := range 3000 {
		fmt.Fprintf(&chain, "  s%d: {extends: s%d}\n", i, i+1)
		fmt.Fprintf(&same, "  b%d: {extends: a}\n", i)
	}
	nested := map[string]string{}
	for i := range 60 {
		nested[fmt.Sprintf("f%d.yml", i)] = fmt.Sprintf("include: [f%d.yml, f%d.yml]\n", i+1, i+1)
	}
	nested["compose.yaml"], nested["f60.yml"] = "include: [f0.yml]\n", web
	for name, c := range map[string]struct {
		files map[string]string
		want  kind
	}{
		"wide":   {map[string]string{"compose.yaml": wide, "b.yml": web}, tooManyFiles},
		"env":    {map[string]string{"compose.yaml": wide, "b.yml": web, ".env": strings.Repeat("ABCDEFGHI=0123456789\n", 40_000)}, tooManyBytes},
		"values": {map[string]string{"compose.yaml": web + "    command:\n" + strings.Repeat("      - ${A}\n", 5000), ".env": "A=" + strings.Repeat("a", 500_000) + "\n"}, tooManyBytes},
		"chain":  {map[string]string{"compose.yaml": chain.String()}, tooDeep},
		"same":   {map[string]string{"compose.yaml": same.String()}, tooManyNodes},
		"nested": {nested, tooDeep},
	} {
		t.Run(name, func(t *testing.T) {
			_, found := loadProject(t, c.files)
			if !slices.ContainsFunc(found, func(p problem) bool { return p.kind == c.want }) {
				t.Errorf("got %v", lines(withoutKinds(found)))
			}
		})
	}
}

func keysOf(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

const web = "services:\n  web:\n    image: x\n    ports: ['8080:80']\n"

// composeProjects are projects of several files; the first one is compose.yaml.
var composeProjects = []struct {
	about string
	files map[string]string
	more  []string // files that are merged
}{
	{"three files", map[string]string{"compose.yaml": web, "b.yml": "services:\n  web:\n    ports: ['81:80']\n", "c.yml": "services:\n  web:\n    ports: !override ['82:80']\n  db:\n    ports: ['5432:5432']\n"}, []string{"b.yml", "c.yml"}},
	{"a reset in the middle", map[string]string{"compose.yaml": web, "b.yml": "services:\n  web:\n    ports: !reset []\n", "c.yml": "services:\n  web:\n    ports: ['82:80']\n"}, []string{"b.yml", "c.yml"}},
	{"a service that is reset", map[string]string{"compose.yaml": web, "b.yml": "services:\n  web: !reset\n  db:\n    ports: ['1:1']\n"}, []string{"b.yml"}},
	{"a service that is reset in what is included", map[string]string{"compose.yaml": "include:\n  - path: [a.yml, b.yml]\n", "a.yml": web + "  x:\n    ports: ['3:3']\n", "b.yml": "services:\n  web: !reset\n  none: !reset\n"}, nil},
	{"a service that is reset, and comes back", map[string]string{"compose.yaml": web, "b.yml": "services:\n  web: !reset\n", "c.yml": "services:\n  web:\n    ports: ['2:2']\n"}, []string{"b.yml", "c.yml"}},
	{"extends a service", map[string]string{"compose.yaml": web + "  b:\n    extends: web\n    ports: ['81:81']\n"}, nil},
	{"extends by a mapping", map[string]string{"compose.yaml": web + "  b:\n    extends: {service: web}\n"}, nil},
	{"extends with a variable", map[string]string{"compose.yaml": web + "  b:\n    extends: {service: '${NONE:-web}', file: '${NONE:-compose.yaml}'}\n"}, nil},
	{"extends in a chain", map[string]string{"compose.yaml": "services:\n  c:\n    extends: b\n    ports: ['3:3']\n  b:\n    extends: a\n    ports: ['2:2']\n  a:\n    ports: ['1:1']\n"}, nil},
	{"extends and overrides", map[string]string{"compose.yaml": web + "  b:\n    extends: web\n    ports: !override ['81:81']\n  c:\n    extends: web\n    ports: !reset []\n  d:\n    extends: c\n    ports: ['4:4']\n"}, nil},
	{"extends what another file has as well", map[string]string{"compose.yaml": web, "b.yml": "services:\n  b:\n    extends: web\n  web:\n    ports: ['81:81']\n"}, []string{"b.yml"}},
	{"a base that resets", map[string]string{"compose.yaml": web, "b.yml": "services:\n  b:\n    ports: !override ['9:9']\n  web:\n    extends: b\n"}, []string{"b.yml"}},
	{"extends a service of another file", map[string]string{"compose.yaml": "services:\n  b:\n    extends: {file: base/common.yml, service: web}\n", "base/common.yml": web}, nil},
	{"extends through two files", map[string]string{"compose.yaml": "services:\n  b:\n    extends: {file: base/common.yml, service: web}\n", "base/common.yml": "services:\n  web:\n    extends: {file: ../other/o.yml, service: x}\n    ports: ['2:2']\n", "other/o.yml": "services:\n  x:\n    ports: ['1:1']\n"}, nil},
	{"extends with profiles", map[string]string{"compose.yaml": "services:\n  a:\n    profiles: [debug]\n    ports: ['1:1']\n  b:\n    extends: a\n  c:\n    extends: a\n    profiles: !reset []\n"}, nil},
	{"a base that is null", map[string]string{"compose.yaml": "services:\n  a:\n    image: x\n    ports: ['1:1']\n    extends: b\n  b: {image: y}\n"}, nil},
	{"include", map[string]string{"compose.yaml": "include: [sub/compose.yml]\nservices:\n  a:\n    ports: ['1:1']\n", "sub/compose.yml": web}, nil},
	{"include by a mapping", map[string]string{"compose.yaml": "include:\n  - path: sub/compose.yml\n", "sub/compose.yml": web}, nil},
	{"include of several files", map[string]string{"compose.yaml": "include:\n  - path: [sub/compose.yml, sub/more.yml]\n", "sub/compose.yml": web, "sub/more.yml": "services:\n  web:\n    ports: ['2:2']\n"}, nil},
	{"include and extends", map[string]string{"compose.yaml": "include: [sub/compose.yml]\nservices:\n  a:\n    extends: web\n", "sub/compose.yml": web}, nil},
	{"include with .env", map[string]string{"compose.yaml": "include: [sub/compose.yml]\n", "sub/compose.yml": "services:\n  a:\n    ports: ['${HERE}:1', '${A}:2']\n", "sub/.env": "HERE=77\nA=78\n"}, nil},
	{"include with project_directory", map[string]string{"compose.yaml": "include:\n  - path: sub/compose.yml\n    project_directory: other\n", "sub/compose.yml": "services:\n  a:\n    extends: {file: o.yml, service: web}\n    ports: ['${HERE}:1']\n", "sub/.env": "HERE=77\n", "other/.env": "HERE=79\n", "other/o.yml": web}, nil},
	{"include with env_file", map[string]string{"compose.yaml": "include:\n  - path: sub/compose.yml\n    env_file: [one.env, two.env]\n", "sub/compose.yml": "services:\n  a:\n    ports: ['${HERE}:1', '${ONE}:2']\n", "sub/.env": "HERE=77\n", "one.env": "HERE=80\nONE=81\n", "two.env": "HERE=8${ONE}\n"}, nil},
	{"include of what includes", map[string]string{"compose.yaml": "include: [sub/compose.yml]\n", "sub/compose.yml": "include: [deep/c.yml]\n" + web, "sub/deep/c.yml": "services:\n  deep:\n    ports: ['3:3']\n"}, nil},
	{"a diamond", map[string]string{"compose.yaml": "include: [a.yml, b.yml]\n", "a.yml": "include: [c.yml]\n", "b.yml": "include: [c.yml]\n", "c.yml": web}, nil},
	{"include and a later file", map[string]string{"compose.yaml": "include: [a.yml]\n", "a.yml": web, "b.yml": "services:\n  web:\n    ports: !override ['2:2']\n"}, []string{"b.yml"}},
	{"include and the same service", map[string]string{"compose.yaml": "include: [a.yml]\nservices:\n  web:\n    ports: ['2:2']\n", "a.yml": web}, nil},
	{"include and the same service with a reset", map[string]string{"compose.yaml": "include: [a.yml]\nservices:\n  web:\n    ports: !reset []\n  b:\n    ports: ['2:2']\n", "a.yml": web}, nil},
	{"include and a service that replaces", map[string]string{"compose.yaml": "include: [a.yml]\nservices:\n  web: !override\n    ports: ['2:2']\n", "a.yml": web}, nil},
	{"include null", map[string]string{"compose.yaml": "include:\n" + web}, nil},
	{"host network", map[string]string{"compose.yaml": "services:\n  a:\n    network_mode: host\n    expose: ['3000', 3001, '3002/udp', '3003-3005', '${A}']\n    ports: ['1:1']\n  b:\n    expose: ['4000']\n"}, nil},
	{"host network by extends", map[string]string{"compose.yaml": "services:\n  a:\n    network_mode: host\n    expose: ['3000']\n  b:\n    extends: a\n    expose: ['3001']\n  c:\n    extends: a\n    network_mode: bridge\n"}, nil},
	{"invalid: extends itself", map[string]string{"compose.yaml": "services:\n  a:\n    extends: a\n    image: x\n    ports: ['1:1']\n"}, nil},
	{"invalid: a cycle of extends", map[string]string{"compose.yaml": "services:\n  a:\n    extends: b\n    ports: ['1:1']\n  b:\n    extends: a\n"}, nil},
	{"invalid: a cycle of extends in two files", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: b}\n    ports: ['1:1']\n", "b.yml": "services:\n  b:\n    extends: {file: compose.yaml, service: a}\n"}, nil},
	{"invalid: no such service", map[string]string{"compose.yaml": "services:\n  a:\n    extends: b\n    ports: ['1:1']\n"}, nil},
	{"invalid: no such service in the file", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: b}\n    ports: ['1:1']\n", "b.yml": web}, nil},
	{"invalid: no such file", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: b}\n    ports: ['1:1']\n"}, nil},
	{"invalid: a service of what is included in a base", map[string]string{"compose.yaml": "services:\n  a:\n    extends: {file: b.yml, service: web}\n    ports: ['1:1']\n", "b.yml": "include: [c.yml]\nservices: {}\n", "c.yml": web}, nil},
	{"invalid: includes itself", map[string]string{"compose.yaml": "include: [compose.yaml]\n" + web}, nil},
	{"invalid: a cycle of include", map[string]string{"compose.yaml": "include: [a.yml]\n", "a.yml": "include: [b.yml]\n", "b.yml": "include: [a.yml]\n" + web}, nil},
	{"invalid: include of no file", map[string]string{"compose.yaml": "include: [none.yml]\n" + web}, nil},
	{"invalid: include of a text", map[string]string{"compose.yaml": "include: a.yml\n" + web, "a.yml": web}, nil},
	{"invalid: no env_file", map[string]string{"compose.yaml": "include:\n  - {path: a.yml, env_file: none.env}\n", "a.yml": web}, nil},
}

func TestProjectsAreThoseOfCompose(t *testing.T) {
	silence(t)
	for _, p := range composeProjects {
		t.Run(p.about, func(t *testing.T) {
			any := compareProjects(t, p.files, append([]string{"compose.yaml"}, p.more...)...)
			if any == strings.HasPrefix(p.about, "invalid") {
				t.Errorf("publishes ports: %t", any)
			}
		})
	}
}

// Random projects of a file, an override, a base and an included file.
func TestRandomProjectsAreThoseOfCompose(t *testing.T) {
	silence(t)
	random := rand.New(rand.NewPCG(14, 5))
	pick := func(all ...string) string { return all[random.IntN(len(all))] }
	services := func(prefix string, bases ...string) string {
		var b strings.Builder
		b.WriteString(pick("x-m: &m {ports: !override ['7:7'], expose: ['4000']}\n", "x-m: &m {ports: ['8:8']}\n"))
		if random.IntN(80) == 0 {
			b.WriteString("x-v: ${NONE:?}\n")
		}
		b.WriteString("services:" + pick("", "", "", "", "", "", "", "", "", " !override") + "\n")
		for i := range 1 + random.IntN(3) {
			fmt.Fprintf(&b, "  %s%d:%s\n    image: x\n", pick(prefix, "s"), i, pick("", "", "", "", "", "", " !override"))
			b.WriteString(pick("", "", "", "", "    <<: *m\n", "", "", "", "    scale: 0\n", "    deploy: {replicas: !reset 1}\n", "    deploy: {replicas: ${NONE:-0}}\n"))
			if text := pick(append(bases, "", "")...); text != "" {
				fmt.Fprintf(&b, "    extends: %s\n", text)
			}
			b.WriteString(pick("", "", "", "    network_mode: host\n", "    network_mode: bridge\n", "    network_mode: !reset null\n"))
			b.WriteString(pick("", "", "", "    expose: ['3000', '3001/udp']\n", "    expose: ['3002-3004']\n"))
			b.WriteString(pick("", "", "", "", "    profiles: [debug]\n", "    profiles: !reset []\n"))
			if random.IntN(4) > 0 {
				fmt.Fprintf(&b, "    ports:%s ['%d:80', "+pick("", "", "", "!reset ")+"'${HERE:-%d}:%d']\n", pick("", "", "", " !override", " !reset"), 1+random.IntN(60000), 1+random.IntN(60000), 1+random.IntN(90))
			}
		}
		text := b.String()
		for _, line := range strings.Split(text, "\n") { // each service once
			if strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "   ") && strings.Count(text, "\n"+line+"\n") > 1 {
				return "services: {}\n"
			}
		}
		return text
	}
	// documents returns one document, or two.
	documents := func(prefix string, bases ...string) string {
		text := services(prefix, bases...)
		if random.IntN(6) == 0 {
			text += "---\n" + services(prefix) // Compose finds no base in another document
		}
		return text
	}
	valid, n := 0, randomProjects(t, 300)
	for range n {
		files := map[string]string{
			"compose.yaml":    pick("", "include: [sub/in.yml]\n", "include: [{path: sub/in.yml, project_directory: other}]\n", "include: [in2.yml, sub/in.yml]\n") + documents("a", "s0", "{file: base/b.yml, service: s0}", "a1"),
			"b.yml":           documents("a", "{service: s1}", "{file: base/b.yml, service: b0}"),
			"base/b.yml":      documents("b", "s1", "{file: c.yml, service: s0}"),
			"base/c.yml":      documents("s", "s1"),
			"in2.yml":         pick("", "include: [sub/in.yml]\n") + documents("i"),
			"sub/in.yml":      documents("i", "s0", "{file: ../base/c.yml, service: s0}"),
			"sub/" + ".env":   "HERE=7777\n",
			"other/" + ".env": "HERE=7778\n",
		}
		names := []string{"compose.yaml"}
		if random.IntN(2) == 0 {
			names = append(names, "b.yml")
		}
		if compareProjects(t, files, names...) {
			valid++
		}
		if t.Failed() {
			return
		}
	}
	if valid < n/15 {
		t.Errorf("only %d of %d projects are valid and publish ports", valid, n)
	}
}

func FuzzProject(f *testing.F) {
	for _, p := range composeProjects {
		for name, text := range p.files {
			if name != "compose.yaml" {
				f.Add(p.files["compose.yaml"], text)
			}
		}
	}
	dir := f.TempDir() // each worker has its own
	f.Fuzz(func(t *testing.T, text, other string) {
		files := map[string]string{"compose.yaml": text, "a.yml": other, "sub/compose.yml": other, "." + "env": "A=${B:-1}\n"}
		writeFiles(t, dir, files)
		o := Options{Bounds: []within.Dir{bound(t, dir)}}
		all, found := load([]string{filepath.Join(dir, "compose.yaml")}, nil, o)
		for _, p := range found {
			name, err := filepath.Rel(dir, p.File)
			data, known := files[filepath.ToSlash(name)]
			switch {
			case err != nil || !known:
				t.Errorf("a problem of another file: %v", p)
			case p.Line > 0:
				checkProblem(t, p.Problem, []byte(data))
			}
		}
		if len(found) == 0 {
			checkManifest(t, all[0])
		}
	})
}

// A found file that another one includes or extends is no project of its own, and its
// ports are compared once.
func TestFoundFilesThatOthersName(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFiles(t, ".", map[string]string{
		"compose.yaml":      "include: [api/compose.yaml, {path: web/compose.yaml, env_file: web/dev.env}]\nservices:\n  db: {extends: {file: db/compose.yaml, service: db}}\n",
		"api/compose.yaml":  "services: {api: {ports: ['8001:80']}}\n",
		"web/compose.yaml":  "services: {web: {ports: ['${WEB_PORT:?set it}:80']}}\n",
		"web/dev.env":       "WEB_PORT=8002\n",
		"db/compose.yaml":   "services: {db: {ports: ['8003:80']}}\n",
		"more/compose.yaml": "services: {more: {ports: ['8004:80']}}\n",
	})
	read := func() ([]string, string) {
		var o Options
		files, found := Find(".", o)
		found = append(found, o.AddFound(files)...)
		all, bad := load(files, nil, o)
		var needs []string
		for _, m := range all {
			for _, p := range m.Ports {
				needs = append(needs, m.File+" "+p.Name)
			}
		}
		return needs, lines(append(found, withoutKinds(bad)...))
	}
	needs, found := read()
	if want := []string{"compose.yaml api", "compose.yaml web", "compose.yaml db", "more/compose.yaml more"}; found != "" || !slices.Equal(slices.Sorted(slices.Values(needs)), slices.Sorted(slices.Values(want))) {
		t.Errorf("needs %q, want %q: %s", needs, want, found)
	}
	writeFiles(t, ".", map[string]string{"api/compose.yaml": "include: [../compose.yaml]\nservices: {api: {ports: ['8001:80']}}\n"})
	if _, found := read(); !strings.Contains(found, "include") {
		t.Errorf("a cycle: %q", found)
	}
}

// The engine binds [::] for IPv6 alone, and an entry for 0.0.0.0 says the same as one
// without an address.
func TestAddressesOfEntries(t *testing.T) {
	for text, want := range map[string]string{
		"['8000:80']": "any", "['0.0.0.0:8000:80']": "any4", "['[::]:8000:80']": "any6", "['[::1]:8000:80']": "::1",
		"['0.0.0.0:8000:80', '[::]:8000:80']": "any4 any6", "['8000:80', '0.0.0.0:8000:80']": "any", "['8000:80', '127.0.0.1:8000:80']": "any 127.0.0.1",
	} {
		m, found := parseCompose("compose.yaml", []byte("services: {web: {ports: "+text+"}}\n"), Options{})
		var got []string
		for _, p := range m.Ports {
			got = append(got, string(p.Addresses[0]))
		}
		if len(found) > 0 || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %s: %v", text, got, want, found)
		}
	}
}

// Equal services of found files of one project are different needs.
func TestFoundFilesOfOneProject(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFiles(t, ".", map[string]string{
		"compose.yaml": "name: deploy\nservices: {app: {ports: ['8000:80']}}\n", "a/deploy/compose.yaml": "services: {app: {ports: ['8001:80']}}\n", "b/deploy/compose.yaml": "services: {app: {ports: ['8002:80']}}\n",
	})
	var o Options
	files, found := Find(".", o)
	found = append(found, o.AddFound(files)...)
	all, bad := Load(files, nil, o)
	var apps []string
	for _, m := range all {
		apps = append(apps, m.App)
		if got := m.Ports[0].Owner[0].Compose; got != "deploy/app" {
			t.Errorf("%s: owner %s", m.File, got)
		}
	}
	if want := []string{"a-deploy", "b-deploy", "deploy"}; len(found)+len(bad) > 0 || !slices.Equal(slices.Sorted(slices.Values(apps)), want) {
		t.Errorf("apps %q, want %q: %v %v", apps, want, found, bad)
	}
}

// An override file without content adds nothing.
func TestEmptyOverride(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, text := range []string{"", "# nothing\n", "\n"} {
		writeFiles(t, ".", map[string]string{"compose.yaml": web, "compose.override.yaml": text})
		var o Options
		o.SetProject([]string{"compose.yaml", "compose.override.yaml"})
		if all, found := Load([]string{"compose.yaml"}, nil, o); len(found) > 0 || len(all) != 1 || len(all[0].Ports) != 1 {
			t.Errorf("%q: %v %v", text, all, found)
		}
	}
}
