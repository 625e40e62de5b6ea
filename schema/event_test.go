package schema

import (
	"reflect"
	"testing"

	"github.com/org/portcheck/check"
)

// TestEventSchemaHasTheFieldsOfTheType checks the schema of what watch writes.
func TestEventSchemaHasTheFieldsOfTheType(t *testing.T) {
	compare(t, "event", reflect.TypeFor[check.Event](), compile(t, "event.schema.json"))
}
