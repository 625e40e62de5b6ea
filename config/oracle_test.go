package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"
)

// The library writes a warning for each variable that is not set.
func silence(t *testing.T) {
	t.Helper()
	before := logrus.StandardLogger().Out
	logrus.SetOutput(io.Discard)
	t.Cleanup(func() { logrus.SetOutput(before) })
}

var oracleEnv = map[string]string{"A": "8080", "EMPTY": "", "b_1": "x", "REF": "$A"}

func oracleLookup(name string) (string, bool) {
	value, ok := oracleEnv[name]
	return value, ok
}

// text returns a random text of some parts.
func randomText(random *rand.Rand, parts []string, most int) string {
	var b strings.Builder
	for range random.IntN(most + 1) {
		b.WriteString(parts[random.IntN(len(parts))])
	}
	return b.String()
}

func TestInterpolationIsThatOfCompose(t *testing.T) {
	silence(t)
	random := rand.New(rand.NewPCG(14, 1))
	parts := []string{"$", "${", "}", "{", "A", "EMPTY", "b_1", "NONE", ":", "-", ":-", "?", ":?", "+", ":+", "$$", "${A}", "${NONE:-", "x", "1", "\n", " ", "é", "${EMPTY:+", "}"}
	valid := 0
	for range 50_000 {
		text := randomText(random, parts, 10)
		want, wantErr := template.Substitute(text, oracleLookup)
		got, err := interpolate(text, oracleLookup, 1<<20)
		if got != want && err == nil || (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: got %q, %v, want %q, %v", text, got, err, want, wantErr)
		}
		if err == nil && strings.Contains(text, "${") {
			valid++
		}
	}
	if valid < 1000 {
		t.Errorf("only %d texts have valid references", valid)
	}
}

func parseDotEnv(text string) (map[string]string, error) {
	env := map[string]string{}
	if _, _, bad := addDotEnv(env, map[string]int{}, text, oracleLookup); bad != "" {
		return nil, errors.New(string(bad))
	}
	return env, nil
}

func TestDotEnvIsThatOfCompose(t *testing.T) {
	silence(t)
	random := rand.New(rand.NewPCG(14, 2))
	parts := []string{"A", "NEW", "X=1\n", "=", "=", ":", "\n", "\n", " ", "\t", "#", " #", "\"", "'", "\\", "\\n", "\\0101", "\\$", "\\\"", "$A", "${NEW:-2}", "$X", "export ", "export", "é", ".", "-", "7", "\r\n", "\u00a0", "%"}
	valid := 0
	for range 100_000 {
		text := randomText(random, parts, 12)
		want, wantErr := dotenv.UnmarshalWithLookup(text, oracleLookup)
		got, err := parseDotEnv(text)
		if (err == nil) != (wantErr == nil) || err == nil && !maps.Equal(got, want) {
			t.Fatalf("%q: got %q, %v, want %q, %v", text, got, err, want, wantErr)
		}
		if err == nil && len(got) > 1 {
			valid++
		}
	}
	if valid < 1000 {
		t.Errorf("only %d texts are valid", valid)
	}
}

// composeFiles are valid Compose files, with what is special about them.
var composeFiles = []struct{ about, text string }{
	{"short", "services:\n  web:\n    ports: ['8080:80']\n"},
	{"short without quotes", "services:\n  web:\n    ports:\n      - 8080:80\n"},
	{"base 60", "services:\n  web:\n    ports:\n      - 22:22\n      - 50:10\n"},
	{"short of a container's port", "services:\n  web:\n    ports: ['80', 81, '82-84']\n"},
	{"short with udp", "services:\n  web:\n    ports: ['53:53/udp']\n"},
	{"short with UDP", "services:\n  web:\n    ports: ['53:53/UDP']\n"},
	{"short with both protocols", "services:\n  web:\n    ports: ['53:53/udp', '53:53/tcp', '53:53']\n"},
	{"short with an address", "services:\n  web:\n    ports: ['127.0.0.1:8080:80']\n"},
	{"short with an IPv6 address", "services:\n  web:\n    ports: ['[::1]:8080:80']\n"},
	{"short with an IPv6 address without brackets", "services:\n  web:\n    ports: ['::1:8080:80']\n"},
	{"short with any address", "services:\n  web:\n    ports: ['0.0.0.0:8080:80']\n"},
	{"short with an address and no port", "services:\n  web:\n    ports: ['127.0.0.1::80']\n"},
	{"short without a host port", "services:\n  web:\n    ports: [':80']\n"},
	{"short block", "services:\n  web:\n    ports: ['8000-8003:9000-9003']\n"},
	{"short block with all parts", "services:\n  web:\n    ports: ['127.0.0.1:8000-8003:9000-9003/udp']\n"},
	{"short block of one", "services:\n  web:\n    ports: ['8000-8000:90-90']\n"},
	{"short range for one port", "services:\n  web:\n    ports: ['8000-8003:80']\n"},
	{"one port to several hosts' ports", "services:\n  web:\n    ports: ['8000:80', '8001:80']\n"},
	{"long", "services:\n  web:\n    ports:\n      - target: 80\n        published: '8080'\n"},
	{"long with a number", "services:\n  web:\n    ports:\n      - {target: 80, published: 8080}\n"},
	{"long with all keys", "services:\n  web:\n    ports:\n      - {name: http, target: 80, published: '8080', host_ip: 127.0.0.1, protocol: tcp, app_protocol: http, mode: host}\n"},
	{"long with udp", "services:\n  web:\n    ports:\n      - {target: 80, published: '8080', protocol: udp}\n"},
	{"long without a published port", "services:\n  web:\n    ports:\n      - {target: 80}\n"},
	{"long with a range", "services:\n  web:\n    ports:\n      - {target: 80, published: 8080-8090}\n"},
	{"long with an IPv6 address", "services:\n  web:\n    ports:\n      - {target: 80, published: 8080, host_ip: '::1'}\n"},
	{"both syntaxes", "services:\n  web:\n    ports:\n      - 8081:81\n      - {target: 80, published: '8080'}\n"},
	{"the same twice", "services:\n  web:\n    ports:\n      - 8080:80\n      - {target: 80, published: '8080'}\n      - 8080:80\n"},
	{"an empty list", "services:\n  web:\n    ports: []\n"},
	{"two services", "services:\n  web:\n    ports: ['8080:80']\n  db:\n    ports: ['5432:5432']\n"},
	{"two services and one port", "services:\n  web:\n    ports: ['8080:80']\n  db:\n    ports: ['8080:80']\n"},
	{"upper case", "services:\n  Web_1.x-y:\n    ports: ['8080:80']\n"},
	{"a variable", "services:\n  web:\n    ports: ['${A}:80']\n"},
	{"a variable without braces", "services:\n  web:\n    ports: ['$A:80']\n"},
	{"defaults", "services:\n  web:\n    ports: ['${NONE:-81}:80', '${EMPTY:-82}:80', '${NONE-83}:80', '${A:+84}:80', '${A:-85}:80']\n"},
	{"nested defaults", "services:\n  web:\n    ports: ['${NONE:-${NONE:-${A}}}:80']\n"},
	{"a default of an entry", "services:\n  web:\n    ports: ['${NONE:-127.0.0.1:81:80/udp}']\n"},
	{"variables in the long syntax", "services:\n  web:\n    ports:\n      - {target: '${NONE:-80}', published: '${A}', host_ip: '${NONE:-127.0.0.1}', protocol: '${NONE:-udp}'}\n"},
	{"required and set", "services:\n  web:\n    ports: ['${A:?why}:80']\n"},
	{"an empty variable", "services:\n  web:\n    ports: ['${EMPTY}:80']\n"},
	{"an anchor", "services:\n  web: &web\n    image: y\n    ports: ['8080:80']\n  db:\n    <<: *web\n    ports: ['5432:5432']\n"},
	{"an anchor of ports", "x-ports: &ports\n  - 8080:80\nservices:\n  web:\n    ports: *ports\n"},
	{"an anchor of an entry", "services:\n  web:\n    ports:\n      - &p {target: 80, published: 8080}\n      - {<<: *p, published: 8081}\n"},
	{"merged mappings", "x-a: &a\n  ports: ['81:80']\nx-b: &b\n  ports: ['82:80']\nservices:\n  web:\n    <<: [*a, *b]\n"},
	{"a profile", "services:\n  web:\n    ports: ['8080:80']\n  debug:\n    profiles: [debug]\n    ports: ['9000:9000']\n"},
	{"no profiles", "services:\n  web:\n    profiles: []\n    ports: ['8080:80']\n"},
	{"reset", "services:\n  web:\n    ports: !reset ['8080:80']\n"},
	{"override", "services:\n  web:\n    ports: !override ['8080:80']\n"},
	{"SCTP", "services:\n  web:\n    ports: ['8080:80/sctp']\n"},
	{"zero", "services:\n  web:\n    ports: ['0:80']\n"},
	{"the last port", "services:\n  web:\n    ports: ['65535:65535']\n"},
	{"a leading zero", "services:\n  web:\n    ports: ['08080:80']\n"},
	{"no replicas", "services:\n  web:\n    scale: 0\n    ports: ['80:80']\n  b:\n    deploy: {replicas: 0}\n    ports: ['81:80']\n  c:\n    scale: ${NONE:-0}\n    ports: ['82:80']\n  d:\n    scale: 1\n    ports: ['83:80']\n"},
	{"no replicas, twice", "services:\n  web:\n    scale: 0\n    deploy: {replicas: 0}\n    ports: ['80:80']\n"},
	{"invalid: no replicas, and a bad port", "services:\n  web:\n    scale: 0\n    ports: [x]\n"},
	{"invalid: replicas without a value", "services:\n  web:\n    deploy: {replicas: }\n    ports: ['80:80']\n"},
	{"invalid: no number", "services:\n  web:\n    ports: ['http:80']\n"},
	{"invalid: too large", "services:\n  web:\n    ports: ['65536:80']\n"},
	{"invalid: protocol", "services:\n  web:\n    ports: ['80:80/tcpp']\n"},
	{"invalid: address", "services:\n  web:\n    ports: ['localhost:80:80']\n"},
	{"invalid: blocks of different lengths", "services:\n  web:\n    ports: ['8000-8001:80-82']\n"},
	{"invalid: backwards", "services:\n  web:\n    ports: ['8001-8000:80']\n"},
	{"invalid: required", "services:\n  web:\n    ports: ['${NONE:?why}:80']\n"},
	{"invalid: a reference", "services:\n  web:\n    ports: ['${A:80']\n"},
	{"invalid: a mapping", "services:\n  web:\n    ports: {a: b}\n"},
	{"invalid: a target", "services:\n  web:\n    ports: [{target: x, published: 80}]\n"},
	{"invalid: an empty entry", "services:\n  web:\n    ports: ['']\n"},
}

// published returns the fixed host ports of a Compose file, as this package and as
// Compose's own loader read them, sorted, each once.
func ourPorts(text, override string) ([]string, []problem) {
	m, found := ourProject(text, override)
	return portsOf(m), found
}

func ourProject(text, override string) (Manifest, []problem) {
	o := Options{Getenv: oracleLookup}
	if override != "" {
		o.SetProject([]string{stdinName, override})
	}
	m, found := parseCompose(stdinName, []byte(text), o)
	return m, withoutNone(found)
}

// withoutNone returns no problem for a project that publishes no port.
func withoutNone(found []problem) []problem {
	if len(found) == 1 && found[0].kind == nonePublished {
		return nil
	}
	return found
}

// portsOf returns the ports of a manifest as the tests compare them.
func portsOf(m Manifest) []string {
	var all []string
	for _, p := range m.Ports {
		address := string(p.Addresses[0])
		_, service, _ := strings.Cut(p.Owner[0].Compose, "/")
		if p.Auto {
			all = append(all, fmt.Sprintf("%s %s %s/%s", service, address, p.Range, p.Protocols[0]))
			continue
		}
		for n := int(p.Ports.First); n <= int(p.Ports.Last); n++ {
			all = append(all, fmt.Sprintf("%s %s %d/%s", service, address, n, p.Protocols[0]))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// everyPortOf returns what the services that have needs publish, also what is no need: an
// override file has all of it.
func everyPortOf(m Manifest) map[string][]string {
	all := map[string][]string{}
	for _, p := range m.Ports {
		if s := p.Service; !s.OnHost && all[s.Name] == nil {
			for _, x := range s.Ports {
				all[s.Name] = append(all[s.Name], fmt.Sprintf("%s %s:%d/%s", allAddresses(x.HostIP), x.Published, x.Target, x.Protocol))
			}
			slices.Sort(all[s.Name])
			all[s.Name] = slices.Compact(all[s.Name])
		}
	}
	return all
}

func allAddresses(hostIP string) string {
	if hostIP == "" {
		return "0.0.0.0"
	}
	return hostIP
}

// compareEveryPort compares everyPortOf with what Compose reads, and reports whether they
// differ.
func compareEveryPort(t *testing.T, m Manifest, want map[string][]string) (differ bool) {
	t.Helper()
	for name, got := range everyPortOf(m) {
		if !slices.Equal(got, want[name]) {
			t.Errorf("all ports of %s: got %q, want %q", name, got, want[name])
			differ = true
		}
	}
	return differ
}

func composePorts(t *testing.T, text, override string) ([]string, map[string][]string, error) {
	t.Helper()
	files := []types.ConfigFile{{Filename: "compose.yaml", Content: []byte(text)}}
	if override != "" {
		files = append(files, types.ConfigFile{Filename: override})
	}
	return loadedPorts(t, t.TempDir(), files)
}

// loadedPorts returns the ports as portsOf and as everyPortOf do.
func loadedPorts(t *testing.T, dir string, files []types.ConfigFile) ([]string, map[string][]string, error) {
	t.Helper()
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: files,
		Environment: maps.Clone(oracleEnv),
	}, func(o *loader.Options) {
		o.SetProjectName("shop", true)
		o.Profiles = []string{""}     // as without COMPOSE_PROFILES
		o.SkipConsistencyCheck = true // such as that of an image
	})
	if err != nil {
		return nil, nil, err
	}
	var all []string
	every := map[string][]string{}
	for name, s := range project.Services {
		for _, p := range s.Ports {
			if first, last, _ := strings.Cut(p.Published, "-"); first == last {
				p.Published = first
			}
			every[name] = append(every[name], fmt.Sprintf("%s %s:%d/%s", allAddresses(p.HostIP), p.Published, p.Target, p.Protocol))
		}
		slices.Sort(every[name])
		every[name] = slices.Compact(every[name])
		if s.Scale != nil && s.Deploy != nil && s.Deploy.Replicas != nil && *s.Scale != *s.Deploy.Replicas { // a part of the skipped check
			return nil, nil, fmt.Errorf("%s: distinct values of scale and replicas", name)
		}
		if s.GetScale() == 0 {
			continue
		}
		if s.NetworkMode == "host" { // its ports have no effect
			s.Ports = nil
			for _, e := range s.Expose {
				number, protocol, found := strings.Cut(strings.ToLower(e), "/")
				if !found {
					protocol = "tcp"
				}
				first, last, isRange := strings.Cut(number, "-")
				if !isRange {
					last = first
				}
				from, _ := strconv.Atoi(first)
				to, _ := strconv.Atoi(last)
				for n := from; n <= to; n++ {
					s.Ports = append(s.Ports, types.ServicePortConfig{Published: fmt.Sprint(n), Protocol: protocol})
				}
			}
		}
		for _, p := range s.Ports {
			address := p.HostIP
			switch address {
			case "":
				address = "any"
			case "0.0.0.0":
				address = "any4"
			}
			if first, last, _ := strings.Cut(p.Published, "-"); first == last {
				p.Published = first
			}
			if p.Published == "" || p.Published == "0" || p.Protocol == "sctp" {
				continue
			}
			all = append(all, fmt.Sprintf("%s %s %s/%s", name, address, p.Published, p.Protocol))
		}
	}
	slices.Sort(all)
	return slices.Compact(all), every, nil
}

func compareWithCompose(t *testing.T, text, override string) {
	t.Helper()
	want, every, err := composePorts(t, text, override)
	m, found := ourProject(text, override)
	got := portsOf(m)
	switch {
	case (err == nil) != (len(found) == 0):
		t.Errorf("got %v, want %v, for\n%s", found, err, text)
	case err == nil && !slices.Equal(got, want):
		t.Errorf("got  %q\nwant %q, for\n%s", got, want, text)
	case err == nil:
		if compareEveryPort(t, m, every) {
			t.Errorf("for\n%s", text)
		}
	}
}

func TestPortsAreThoseOfCompose(t *testing.T) {
	silence(t)
	for _, f := range composeFiles {
		t.Run(f.about, func(t *testing.T) {
			compareWithCompose(t, f.text, "")
			if _, found := ourPorts(f.text, ""); strings.HasPrefix(f.about, "invalid") != (len(found) > 0) {
				t.Errorf("got %v", found)
			}
		})
	}
}

// randomCompose returns a random Compose file, which is valid in most cases.
func randomCompose(random *rand.Rand) string {
	pick := func(all ...string) string { return all[random.IntN(len(all))] }
	variable := func(s string) string {
		return pick(s, s, s, "${NONE:-"+s+"}", "${EMPTY:-"+s+"}", "${A:+"+s+"}", "${NONE-"+s+"}")
	}
	number := func() int { return 1 + random.IntN(65535-20) }
	var b strings.Builder
	if random.IntN(3) == 0 {
		fmt.Fprintf(&b, "x-base: &base\n  ports: ['%d:80']\n", number())
	}
	based := b.Len() > 0
	b.WriteString("services:\n")
	for i := range 1 + random.IntN(4) {
		fmt.Fprintf(&b, "  s%d:\n    image: x\n", i)
		if based && random.IntN(2) == 0 {
			b.WriteString("    <<: *base\n")
		}
		if random.IntN(6) == 0 {
			fmt.Fprintf(&b, "    profiles: [%s]\n", pick("debug", "'', debug", ""))
		}
		if random.IntN(8) == 0 {
			continue
		}
		b.WriteString("    ports:" + pick("", "", "", "", " !override", " !reset") + "\n")
		for range 1 + random.IntN(4) {
			first, target, size := number(), number(), random.IntN(4)
			published := pick(fmt.Sprint(first), fmt.Sprint(first), fmt.Sprintf("%d-%d", first, first+size), "", "0")
			container := pick(fmt.Sprint(target), fmt.Sprint(target), fmt.Sprintf("%d-%d", target, target+size))
			if random.IntN(3) == 0 {
				fmt.Fprintf(&b, "      - target: %d\n", target)
				for _, f := range []string{
					"published: " + pick("", "'") + "%s", "host_ip: " + pick("127.0.0.1", "'::1'", "0.0.0.0", "10.1.2.3"),
					"protocol: " + pick("tcp", "udp"), "mode: " + pick("host", "ingress"),
				} {
					if random.IntN(2) == 0 {
						continue
					}
					if strings.HasSuffix(f, "'%s") {
						f += "'"
					}
					b.WriteString("        " + strings.Replace(f, "%s", variable(published), 1) + "\n")
				}
				continue
			}
			address := pick("", "", "", "127.0.0.1:", "[::1]:", "0.0.0.0:", "::1:")
			fmt.Fprintf(&b, "      - \"%s\"\n", address+variable(published)+":"+variable(container)+pick("", "", "/tcp", "/udp", "/UDP", "/sctp"))
		}
	}
	return b.String()
}

// randomProjects returns how many random Compose files a test makes.
func randomProjects(t *testing.T, usual int) int {
	t.Helper()
	text := os.Getenv("PORTCHECK_TEST_COMPOSE")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text) // .ci/nightly has 10,000
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRandomPortsAreThoseOfCompose(t *testing.T) {
	silence(t)
	random := rand.New(rand.NewPCG(14, 3))
	n := randomProjects(t, 300)
	valid := 0
	for range n {
		text := randomCompose(random)
		compareWithCompose(t, text, "")
		if ports, found := ourPorts(text, ""); len(ports) > 0 && len(found) == 0 {
			valid++
		}
	}
	if valid < n/3 {
		t.Errorf("only %d of %d files are valid and publish ports", valid, n)
	}
}

func FuzzDotEnv(f *testing.F) {
	logrus.SetOutput(io.Discard)
	for _, text := range []string{"A=1\nB=${A:-2}\n", "export A='x y' # z\nB\n", "A=\"\\$x\\n\\0101\"\r\n", "A: ${NONE:?why}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseDotEnv(text)
		size := 0
		for _, value := range got {
			size += len(value)
		}
		if size > 2*maxBytes {
			t.Errorf("%d bytes of values from %d of text", size, len(text))
		}
		if strings.Count(text, "$") > 10 || strings.ContainsAny(text, "\ufeff\u017f\u212a") {
			return // the library's values may grow, and it reads these characters in another way
		}
		want, wantErr := dotenv.UnmarshalWithLookup(text, oracleLookup)
		if (err == nil) != (wantErr == nil) || err == nil && !maps.Equal(got, want) {
			t.Errorf("%q: got %q, %v, want %q, %v", text, got, err, want, wantErr)
		}
	})
}

func TestOverridesAreThoseOfCompose(t *testing.T) {
	silence(t)
	const base = "name: a\nservices:\n  web:\n    image: x\n    ports: ['8080:80', '8443:443']\n  db:\n    profiles: [data]\n    ports: ['5432:5432']\n  counted:\n    deploy: {replicas: 0}\n    ports: ['9:9']\n"
	override := filepath.Join(t.TempDir(), "compose.override.yaml")
	for _, text := range []string{
		"services: {}\n",
		"services:\n  web:\n    image: y\n",
		"services:\n  web:\n    ports: ['8081:80']\n",
		"services:\n  web:\n    ports: ['8080:80', {target: 443, published: 8443}]\n",
		"services:\n  web:\n    ports: !override ['8081:80']\n",
		"services:\n  web:\n    ports: !reset []\n",
		"services:\n  web: !override\n    image: y\n    ports: ['81:80']\n",
		"services:\n  cache:\n    image: z\n    ports: ['6379:6379']\n",
		"services:\n  web:\n    scale: 0\n",
		"services:\n  counted:\n    deploy: {replicas: !reset null}\n",
		"services:\n  counted:\n    deploy: !reset {}\n",
		"services:\n  counted:\n    deploy: {resources: {}}\n",
		"services:\n  db:\n    profiles: !reset []\n",
		"services:\n  db:\n    profiles: [other]\n",
		"services:\n  web:\n    profiles: [other]\n",
		"services:\n  web:\n    ports: ['http:80']\n",
		"services:\n  web:\n    ports: {a: b}\n",
		"services:\n  web:\n    ports:\n",
	} {
		if err := os.WriteFile(override, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		compareWithCompose(t, base, override)
		if t.Failed() {
			t.Fatalf("the override is\n%s", text)
		}
	}
	random := rand.New(rand.NewPCG(14, 4))
	for range 200 {
		text, more := randomCompose(random), randomCompose(random)
		if _, _, err := composePorts(t, text, ""); err != nil {
			continue // Compose refuses errors in what the override replaces, too
		}
		if err := os.WriteFile(override, []byte(more), 0o600); err != nil {
			t.Fatal(err)
		}
		compareWithCompose(t, text, override)
		if t.Failed() {
			t.Fatalf("the override is\n%s", more)
		}
	}
}
