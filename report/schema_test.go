package report

import (
	"bytes"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The cases have every status and every notice.
func TestJSONFollowsItsSchema(t *testing.T) {
	s, err := jsonschema.NewCompiler().Compile("../schema/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range cases() {
		var b bytes.Buffer
		if err := jsonReport(&b, r, Options{}); err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(&b)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
