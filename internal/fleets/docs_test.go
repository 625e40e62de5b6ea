package fleets

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/cli"
)

var update = flag.Bool("update", false, "write the output of commands into docs/fleets.md")

// TestDocsShowRealOutput compares the output that docs/fleets.md shows with what
// its commands print for the reports in testdata.
func TestDocsShowRealOutput(t *testing.T) {
	file, err := filepath.Abs("../../docs/fleets.md")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("testdata")
	shown := regexp.MustCompile("<!-- output: portcheck (.*) -->\n```console\n(?s:.*?)```")
	found := 0
	text := shown.ReplaceAllStringFunc(string(page), func(block string) string {
		found++
		command := shown.FindStringSubmatch(block)[1]
		var out, errs bytes.Buffer
		if code := cli.Run(t.Context(), strings.Fields(command), nil, strings.NewReader(""), &out, &errs); code != 1 || errs.Len() > 0 {
			t.Errorf("%s: exit code %d: %s", command, code, &errs)
		}
		return "<!-- output: portcheck " + command + " -->\n```console\n$ portcheck " + command + "\n" + out.String() + "```"
	})
	switch {
	case found == 0:
		t.Error("docs/fleets.md shows no output")
	case *update:
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	case text != string(page):
		t.Errorf("docs/fleets.md is stale (-update writes it); now it is:\n%s", text)
	}
}

// TestRoleDescribesItsVariables checks that the role's README lists its variables,
// and no others.
func TestRoleDescribesItsVariables(t *testing.T) {
	const role = "../../examples/ansible/roles/portcheck/"
	text, err := os.ReadFile(role + "defaults/main.yml")
	if err != nil {
		t.Fatal(err)
	}
	var defaults map[string]any
	if err := yaml.Unmarshal(text, &defaults); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(role + "README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(readme), -1)
	if len(rows) != len(defaults) || len(rows) == 0 {
		t.Errorf("%d rows for %d variables", len(rows), len(defaults))
	}
	for _, row := range rows {
		if _, known := defaults[row[1]]; !known {
			t.Errorf("the role has no variable %s", row[1])
		}
	}
}
