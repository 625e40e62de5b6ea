//go:build linux

package report

import (
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The schema is that of GitLab's documentation.
func TestCodeQualityFitsItsSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("testdata/codequality.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	valid := func(text string) error {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			return err
		}
		return schema.Validate(doc)
	}
	dir, _ := writeAll(t, "codequality")
	for _, file := range files(t, dir) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(string(text)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if valid(`[{"description": "x", "check_name": "x", "fingerprint": "0", "severity": "fatal", "location": {"path": "/x", "lines": {"begin": 0}}}]`) == nil {
		t.Error("the schema accepts an invalid issue")
	}
}
