package schema

import (
	"reflect"
	"testing"

	"github.com/org/portcheck/check"
)

// TestLeaseSchemasHaveTheFieldsOfTheTypes checks the schemas of what assign and leases
// write.
func TestLeaseSchemasHaveTheFieldsOfTheTypes(t *testing.T) {
	compare(t, "assignment", reflect.TypeFor[check.Assignment](), compile(t, "assignment.schema.json"))
	compare(t, "leases", reflect.TypeFor[check.Leases](), compile(t, "leases.schema.json"))
}
