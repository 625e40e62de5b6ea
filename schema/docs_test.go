package schema

import (
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestManifestDocHasTheKeysOfTheSchema checks that each table of docs/manifest.md
// has all keys of one kind of mapping, with their defaults, and no others.
func TestManifestDocHasTheKeysOfTheSchema(t *testing.T) {
	s := compile(t, manifestSchema)
	need := resolve(s.Properties["ports"].Items.(*jsonschema.Schema))
	kinds := []map[string]*jsonschema.Schema{
		s.Properties, need.Properties, need.Properties["socket"].Properties,
		resolve(need.Properties["owner"].AnyOf[0]).Properties,
	}
	tables := keyTables(t, "../docs/manifest.md")
	if len(tables) != len(kinds) {
		t.Fatalf("%d tables with keys, want %d", len(tables), len(kinds))
	}
	for i, table := range tables {
		for key, p := range kinds[i] {
			cells, ok := table[key]
			if !ok {
				t.Errorf("table %d has no %s", i+1, key)
				continue
			}
			if p.Description == "" {
				t.Errorf("the schema does not describe %s", key)
			}
			if p.Default == nil || len(cells) < 4 {
				continue
			}
			if word, ok := (*p.Default).(string); ok && !strings.Contains(cells[2], word) {
				t.Errorf("%s: default %q is not in %q", key, word, cells[2])
			}
		}
		for key := range table {
			if kinds[i][key] == nil {
				t.Errorf("table %d has %s, which the schema does not have", i+1, key)
			}
		}
	}
	for key, p := range s.Properties["defaults"].Properties {
		if p.Description == "" || !strings.Contains(tables[0]["defaults"][4], "`"+key+"`") {
			t.Errorf("defaults: %s is not documented", key)
		}
	}
}

// keyTables returns the tables of a Markdown file that have "key" as the first
// column: the cells of each row by key.
func keyTables(t *testing.T, file string) []map[string][]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string][]string
	open := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "| key |"):
			all, open = append(all, map[string][]string{}), true
		case !strings.HasPrefix(line, "|"):
			open = false
		case open && !strings.HasPrefix(line, "| ---"):
			cells := strings.Split(strings.Trim(line, "|"), " | ")
			all[len(all)-1][strings.Trim(cells[0], " `")] = cells
		}
	}
	return all
}

// TestDocsShowValidManifests checks them with the parser and with the schema.
func TestDocsShowValidManifests(t *testing.T) {
	s := compile(t, manifestSchema)
	shown := 0
	for _, file := range []string{"../docs/manifest.md", "../README.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range strings.Split(string(text), "```") {
			example, ok := strings.CutPrefix(block, "yaml\n")
			if i%2 == 0 || !ok || !strings.Contains(example, "version: 1\n") {
				continue
			}
			shown++
			if err := parse([]byte(example)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			if err := validate(s, []byte(example)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if shown != 2 {
		t.Errorf("%d manifests, want one in each", shown)
	}
}

// TestDocSendsEditorsToTheSchema checks both ways that docs/manifest.md shows.
func TestDocSendsEditorsToTheSchema(t *testing.T) {
	text, err := os.ReadFile("../docs/manifest.md")
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimSuffix(compile(t, manifestSchema).Location, "#")
	for _, line := range []string{"# yaml-language-server: $schema=" + address + "\n", `"` + address + `": [`} {
		if !strings.Contains(string(text), line) {
			t.Errorf("docs/manifest.md has no %s", line)
		}
	}
}
