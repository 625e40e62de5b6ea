package schema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/config"
)

const manifestSchema = "manifest.schema.json"

// compile compiles a schema under the address in its $id, so that its references
// to other schemas resolve.
func compile(t *testing.T, file string) *jsonschema.Schema {
	t.Helper()
	const home = "https://raw.githubusercontent.com/org/portcheck/v1/schema/"
	files, err := filepath.Glob("*.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if id := doc.(map[string]any)["$id"]; id != home+name {
			t.Errorf("%s: the $id is %v", name, id)
		}
		if err := c.AddResource(home+name, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile(home + file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// parserRules holds rules that only the parser has, because JSON Schema can't express
// them, or only at length. Each manifest breaks one.
var parserRules = map[string]string{
	"a name twice":                     "version: 1\nports: [{name: a, port: 1}, {name: a, port: 2}]\n",
	"a variable twice":                 "version: 1\nports: [{name: a, port: 1, env: A}, {name: b, port: 2, env: A}]\n",
	"a variable with another meaning":  "version: 1\nports: [{name: a, port: 1, env: PATH}]\n",
	"a key twice":                      "version: 1\nports: [{name: a, port: 1, port: 2}]\n",
	"a second document":                "version: 1\nports: [{name: a, port: 1}]\n---\nversion: 1\nports: [{name: a, port: 1}]\n",
	"an anchor":                        "version: 1\napp: &a shop\nports: [{name: a, port: 1}]\n",
	"an alias":                         "version: 1\nx-app: &a shop\napp: *a\nports: [{name: a, port: 1}]\n",
	"a tag":                            "version: 1\napp: !!str shop\nports: [{name: a, port: 1}]\n",
	"a range reversed":                 "version: 1\nports: [{name: a, port: 2-1}]\n",
	"a range without a block":          "version: 1\nports: [{name: a, port: auto:3, range: [80-81, 90]}]\n",
	"octal text of a number":           "version: 1\nports: [{name: a, port: 010}]\n",
	"hexadecimal text of a number":     "version: 1\nports: [{name: a, port: 0x50}]\n",
	"a float that is whole":            "version: 1\nports: [{name: a, port: 80.0}]\n",
	"an exponent":                      "version: 1\nports: [{name: a, port: 1e3}]\n",
	"a boolean in capitals":            "version: 1\nports: [{name: a, port: 1, socket: {reuse_port: True}}]\n",
	"a port twice, once as text":       "version: 1\nexclude: [80, \"80\"]\nports: [{name: a, port: 1}]\n",
	"addresses of one socket":          "version: 1\nports: [{name: a, port: 1, address: [any, 127.0.0.1]}]\n",
	"an address in two spellings":      "version: 1\nports: [{name: a, port: 1, address: [\"::1\", \"0::1\"]}]\n",
	"a target that is not named":       "version: 1\nports: [{name: a, port: 1, targets: [app1]}]\n",
	"too many ports":                   "version: 1\nports: [{name: a, port: 1-65535}, {name: b, port: 1-65535}]\n",
	"a zone that starts with a hyphen": "version: 1\ntargets: {a: \"ssh://[fe80::1%25-a]\"}\nports: [{name: a, port: 1}]\n",
	"an IPv6 target of three groups":   "version: 1\ntargets: {a: \"ssh://[1:2:3]\"}\nports: [{name: a, port: 1}]\n",
	"a control character of two bytes": "version: 1\ntargets: {a: \"ssh://a%c2%85@app1\"}\nports: [{name: a, port: 1}]\n",
	"a wait of more than a day":        "version: 1\nwait: 24h1s\nports: [{name: a, port: 1}]\n",
	"a device and another zone":        "version: 1\nports: [{name: a, port: 1, socket: {device: eth1}, address: \"fe80::1%eth0\"}]\n",
	"too deep":                         "version: 1\nx-deep: " + strings.Repeat("[", 60) + strings.Repeat("]", 60) + "\nports: [{name: a, port: 1}]\n",
	"too many values":                  "version: 1\nx-long: [" + strings.Repeat("1,", 20_000) + "]\nports: [{name: a, port: 1}]\n",
	"too large":                        "version: 1\nports: [{name: a, port: 1}]\n# " + strings.Repeat("-", 1<<20) + "\n",
}

// exceptions holds the cases of testManifests that break nothing but a rule of
// parserRules, with the rule. Each stands for the same in a reachable need, too.
var exceptions = map[string]string{
	"invalid/addresses.yml: defaults":                   "addresses of one socket",
	"invalid/addresses.yml: defaults.address":           "addresses of one socket",
	"invalid/addresses.yml: ports[1]":                   "an address in two spellings",
	"invalid/addresses.yml: ports[1].address":           "an address in two spellings",
	"invalid/addresses.yml: ports[2]":                   "addresses of one socket",
	"invalid/addresses.yml: ports[2].address":           "addresses of one socket",
	"invalid/addresses.yml: ports[3]":                   "addresses of one socket",
	"invalid/addresses.yml: ports[3].address":           "addresses of one socket",
	"invalid/env.yml":                                   "a variable with another meaning",
	"invalid/env.yml: ports":                            "a variable with another meaning",
	"invalid/env.yml: ports[0]":                         "a variable with another meaning",
	"invalid/env.yml: ports[0].env":                     "a variable with another meaning",
	"invalid/auto.yml: ports[8]":                        "a range without a block",
	"invalid/auto.yml: ports[9]":                        "a range without a block",
	"invalid/auto.yml: ports[10]":                       "a range without a block",
	"invalid/auto.yml: ports[11]":                       "a range reversed",
	"invalid/auto.yml: ports[11].range":                 "a range reversed",
	"invalid/devices.yml: ports[5]":                     "a device and another zone",
	"invalid/values.yml: ports[5]":                      "a wait of more than a day",
	"invalid/values.yml: ports[5].wait":                 "a wait of more than a day",
	"invalid/values.yml: ports[6]":                      "a wait of more than a day",
	"invalid/values.yml: ports[6].wait":                 "a wait of more than a day",
	"invalid/ports.yml: ports[0]":                       "octal text of a number",
	"invalid/ports.yml: ports[0].port":                  "octal text of a number",
	"invalid/ports.yml: ports[1]":                       "hexadecimal text of a number",
	"invalid/ports.yml: ports[1].port":                  "hexadecimal text of a number",
	"invalid/ports.yml: ports[3]":                       "a float that is whole",
	"invalid/ports.yml: ports[3].port":                  "a float that is whole",
	"invalid/ports.yml: ports[4]":                       "an exponent",
	"invalid/ports.yml: ports[4].port":                  "an exponent",
	"invalid/ports.yml: ports[10]":                      "a range reversed",
	"invalid/ports.yml: ports[10].port":                 "a range reversed",
	"invalid/taken.yml":                                 "a name twice",
	"invalid/taken.yml: ports":                          "a name twice",
	"invalid/targets.yml: ports[0]":                     "a target that is not named",
	"invalid/targets.yml: ports[0].targets":             "a target that is not named",
	"invalid/targets.yml: ports[0].targets[0]":          "a target that is not named",
	"invalid/targets.yml: ports[0].targets[1]":          "a target that is not named",
	"invalid/targets.yml: ports[2].targets[0]":          "a target that is not named",
	"invalid/targets.yml: ports[2].targets[3]":          "a target that is not named",
	"invalid/targets.yml: ports[2].targets[4]":          "a target that is not named",
	"invalid/targets-ssh.yml: targets.hyphen-in-zone":   "a zone that starts with a hyphen",
	"invalid/too-deep.yml: x-deep":                      "too deep",
	"invalid/too-deep.yml: x-deep[0]":                   "too deep",
	"invalid/values.yml: ports[0].run_as":               "hexadecimal text of a number",
	"invalid/values.yml: ports[1].socket.reuse_address": "a boolean in capitals",
	"invalid/values.yml: ports[2].run_as":               "octal text of a number",
	"valid/addresses.yml: ports[1].address":             "addresses of one socket",
}

func TestSchemaSaysWhatItCan(t *testing.T) {
	s := compile(t, manifestSchema)
	for rule, text := range parserRules {
		if err := parse([]byte(text)); err == nil {
			t.Errorf("%s: the parser accepts it", rule)
		}
		if err := validate(s, []byte(text)); err != nil {
			t.Errorf("%s: the schema has the rule too: %v", rule, err)
		}
	}
}

// TestSchemaKnowsEveryKindOfTarget checks targets that a manifest names and those
// in a need.
func TestSchemaKnowsEveryKindOfTarget(t *testing.T) {
	s := compile(t, manifestSchema)
	words, err := os.ReadFile(manifestSchema)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range config.TargetKinds {
		for _, text := range []string{
			"version: 1\ntargets: {x1: \"" + k.Example + "\"}\nports: [{name: a, port: 1}]\n",
			"version: 1\nports: [{name: a, port: 1, targets: [\"" + k.Example + "\"]}]\n",
		} {
			if err := validate(s, []byte(text)); err != nil {
				t.Errorf("the schema refuses the target %s: %v", k.Example, err)
			}
		}
		if !strings.Contains(string(words), k.Syntax) {
			t.Errorf("no text of the schema mentions %s", k.Syntax)
		}
	}
}

// TestSchemaAndParserAgree compares both on every manifest of testdata. It also
// compares them on each key, need and list item by itself, because both reject a
// manifest with many errors even if each finds another one.
func TestSchemaAndParserAgree(t *testing.T) {
	s := compile(t, manifestSchema)
	used := map[string]bool{}
	accepted, rejected := 0, 0
	for name, text := range testManifests(t) {
		parserErr, schemaErr := parse(text), validate(s, text)
		if parserErr == nil {
			accepted++
		} else {
			rejected++
		}
		plain, reachable := strings.CutSuffix(name, ", reachable")
		rule, excepted := exceptions[plain]
		used[plain] = true
		switch {
		case excepted && reachable && parserErr != nil && schemaErr != nil: // another rule rejects it in a reachable need
		case excepted && parserRules[rule] == "":
			t.Errorf("%s: no rule %q", name, rule)
		case excepted && (parserErr == nil || schemaErr != nil):
			t.Errorf("%s must not be in exceptions; parser: %v; schema: %v", name, parserErr, schemaErr)
		case !excepted && (parserErr == nil) != (schemaErr == nil):
			t.Errorf("%s:\n%s\nparser: %v\nschema: %v", name, text, parserErr, schemaErr)
		}
	}
	for name := range exceptions {
		if !used[name] {
			t.Errorf("%s is in exceptions, but is not a test manifest", name)
		}
	}
	if accepted < 400 || rejected < 400 {
		t.Errorf("only %d valid and %d invalid manifests", accepted, rejected)
	}
}

// TestSchemaKnowsEveryKeyAndWord compares the schema with the lists in the parser's
// errors.
func TestSchemaKnowsEveryKeyAndWord(t *testing.T) {
	s := compile(t, manifestSchema)
	need := resolve(s.Properties["ports"].Items.(*jsonschema.Schema))
	owner := resolve(need.Properties["owner"].AnyOf[0])
	for text, props := range map[string]map[string]*jsonschema.Schema{
		"version: 1\nzzzz: 1\nports: [{name: a, port: 1}]":             s.Properties,
		"version: 1\nports: [{name: a, port: 1, zzzz: 1}]":             need.Properties,
		"version: 1\ndefaults: {zzzz: 1}\nports: [{name: a, port: 1}]": s.Properties["defaults"].Properties,
		"version: 1\nports: [{name: a, port: 1, socket: {zzzz: 1}}]":   need.Properties["socket"].Properties,
		"version: 1\nports: [{name: a, port: 1, owner: {zzzz: 1}}]":    owner.Properties,
	} {
		got := slices.Sorted(maps.Keys(props))
		if want := slices.Sorted(slices.Values(allowedWords(t, text))); !slices.Equal(got, want) {
			t.Errorf("%s\nthe schema has %v, the parser %v", text, got, want)
		}
	}
	for key, set := range map[string]*jsonschema.Schema{
		"severity": resolve(need.Properties["severity"].AllOf[0]),
		"expect":   need.Properties["expect"],
		"protocol": resolve(resolve(need.Properties["protocol"].AllOf[0]).AnyOf[0]),
		"allow":    resolve(need.Properties["allow"].AllOf[0]).Items.(*jsonschema.Schema),
	} {
		value := "zzzz"
		if key == "allow" {
			value = "[zzzz]"
		}
		var got []string
		for _, v := range set.Enum.Values {
			got = append(got, v.(string))
		}
		text := "version: 1\nports: [{name: a, port: 1, " + key + ": " + value + "}]"
		if want := allowedWords(t, text); !slices.Equal(got, want) {
			t.Errorf("%s: the schema has %v, the parser %v", key, got, want)
		}
	}
}

// allowedWords returns what the parser would accept instead of zzzz, according to
// its error.
func allowedWords(t *testing.T, text string) []string {
	t.Helper()
	err := parse([]byte(text))
	if err == nil {
		t.Fatalf("%s: accepted", text)
	}
	_, words, ok := strings.Cut(err.Error(), ": want ")
	if !ok {
		t.Fatalf("%s: %v", text, err)
	}
	return strings.Split(strings.ReplaceAll(words, " or ", ", "), ", ")
}

// resolve follows the references of a schema.
func resolve(s *jsonschema.Schema) *jsonschema.Schema {
	for s.Ref != nil {
		s = s.Ref
	}
	return s
}

func parse(text []byte) error {
	_, problems := config.Load([]string{"-"}, bytes.NewReader(text), config.Options{})
	var errs []error
	for _, p := range problems {
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

// validate validates each document of text as an editor does: as JSON converted
// from YAML 1.2.
func validate(s *jsonschema.Schema, text []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for n := 0; ; n++ {
		var doc yaml.Node
		switch err := dec.Decode(&doc); {
		case err == io.EOF && n == 0:
			return s.Validate(nil)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		v, err := value(doc.Content[0])
		if err == nil {
			err = s.Validate(v)
		}
		if err != nil {
			return err
		}
	}
}

var (
	integer = regexp.MustCompile(`^[-+]?[0-9]+$|^0o[0-7]+$|^0x[0-9a-fA-F]+$`)
	decimal = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
)

// value returns a node's value by the core schema of YAML 1.2, as editors do. The
// yaml.v3 package uses a mix of 1.1 and 1.2.
func value(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.AliasNode:
		return value(n.Alias)
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			v, err := value(item)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		object := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("line %d: JSON has no such key", key.Line)
			}
			v, err := value(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			object[key.Value] = v
		}
		return object, nil
	}
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return n.Value, nil
	}
	switch n.Value {
	case "", "~", "null", "Null", "NULL":
		return nil, nil
	case "true", "True", "TRUE":
		return true, nil
	case "false", "False", "FALSE":
		return false, nil
	}
	switch {
	case integer.MatchString(n.Value):
		base := 10
		if strings.HasPrefix(n.Value, "0x") || strings.HasPrefix(n.Value, "0o") {
			base = 0
		}
		return strconv.ParseInt(n.Value, base, 64)
	case decimal.MatchString(n.Value):
		return strconv.ParseFloat(n.Value, 64)
	default:
		return n.Value, nil
	}
}

// testManifests returns the manifests of testdata, whole and in pieces, by name.
func testManifests(t *testing.T) map[string][]byte {
	t.Helper()
	const dir = "../testdata/manifests"
	files, err := filepath.Glob(dir + "/*/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	all := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			t.Fatal(err)
		}
		name = filepath.ToSlash(name)
		all[name] = text
		var doc yaml.Node
		if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
			continue
		}
		if name == "invalid/anchors.yml" { // its pieces are not valid YAML
			continue
		}
		for path, piece := range pieces(doc.Content[0]) {
			out, err := yaml.Marshal(piece)
			if err != nil {
				t.Fatalf("%s: %s: %v", name, path, err)
			}
			all[name+": "+path] = out
		}
	}
	return all
}

// pieces returns manifests that are valid except for one part of root each.
func pieces(root *yaml.Node) map[string]*yaml.Node {
	all := map[string]*yaml.Node{}
	for key, v := range fields(root) {
		all[key] = manifest(key, v)
		for sub, v := range fields(v) {
			all[key+"."+sub] = manifest(key, mapping(sub, v))
		}
		for i, item := range items(v) {
			path := fmt.Sprintf("%s[%d]", key, i)
			all[path] = manifest(key, list(item))
			if key != "ports" {
				continue
			}
			for need, v := range fields(item) {
				forms := map[string]*yaml.Node{"": v}
				for j, one := range items(v) {
					forms[fmt.Sprintf("[%d]", j)] = list(one)
				}
				for sub, v := range fields(v) {
					forms["."+sub] = mapping(sub, v)
				}
				for form, v := range forms {
					at := path + "." + need + form
					all[at] = manifest(key, list(with(validNeed(), need, v)))
					all[at+", reachable"] = manifest(key, list(with(with(with(validNeed(), "expect", scalar("reachable")), "remote", scalar("db")), need, v)))
				}
			}
		}
	}
	return all
}

func fields(n *yaml.Node) map[string]*yaml.Node {
	all := map[string]*yaml.Node{}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Kind == yaml.ScalarNode && n.Content[i].Value != "<<" {
				all[n.Content[i].Value] = n.Content[i+1]
			}
		}
	}
	return all
}

func items(n *yaml.Node) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

func scalar(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

func list(items ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Content: items}
}

func mapping(key string, v *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{quoted(key), v}}
}

func quoted(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: text, Style: yaml.DoubleQuotedStyle}
}

// validNeed returns a need without errors.
func validNeed() *yaml.Node { return with(mapping("name", scalar("good")), "port", scalar("7")) }

// manifest returns a manifest that is valid except for one key.
func manifest(key string, v *yaml.Node) *yaml.Node {
	m := with(mapping("version", scalar("1")), "targets", mapping("app1", scalar("ssh://app1")))
	return with(with(m, "ports", list(validNeed())), key, v)
}

// with sets a key of a mapping and returns the mapping.
func with(n *yaml.Node, key string, v *yaml.Node) *yaml.Node {
	n.Content = slices.Clone(n.Content)
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content[i+1] = v
			return n
		}
	}
	n.Content = append(n.Content, quoted(key), v)
	return n
}
