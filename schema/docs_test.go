package schema

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestManifestDocHasTheKeysOfTheSchema: each table of docs/manifest.md has all
// keys of one kind of mapping, with their defaults, and no other.
func TestManifestDocHasTheKeysOfTheSchema(t *testing.T) {
	s := compile(t, manifestSchema)
	need := resolved(s.Properties["ports"].Items.(*jsonschema.Schema))
	kinds := []map[string]*jsonschema.Schema{
		s.Properties, need.Properties, need.Properties["socket"].Properties,
		resolved(need.Properties["owner"].AnyOf[0]).Properties,
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
				t.Errorf("table %d has %s, which the schema does not know", i+1, key)
			}
		}
	}
	for key := range s.Properties["defaults"].Properties {
		if !strings.Contains(tables[0]["defaults"][4], "`"+key+"`") {
			t.Errorf("defaults: %s is not said", key)
		}
	}
}

// keyTables are the tables of a Markdown file whose first column is headed
// "key": the cells of each row by key.
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

// TestManifestDocExampleIsGood, by the parser and by the schema whose address
// it gives to editors.
func TestManifestDocExampleIsGood(t *testing.T) {
	text, err := os.ReadFile("../docs/manifest.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no example")
	}
	s := compile(t, manifestSchema)
	if err := parse([]byte(example)); err != nil {
		t.Error(err)
	}
	if err := validate(s, []byte(example)); err != nil {
		t.Error(err)
	}
	address, _, _ := strings.Cut(strings.TrimPrefix(example, "# yaml-language-server: $schema="), "\n")
	if want := strings.TrimSuffix(s.Location, "#"); address != want || !slices.Contains(strings.Fields(string(text)), `"`+want+`":`) {
		t.Errorf("editors are sent to %s, want %s", address, want)
	}
}
