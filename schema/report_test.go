package schema

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
)

// TestReportSchemaHasTheFieldsOfTheTypes checks that the schema has exactly the
// fields of the types, and requires those without omitempty.
func TestReportSchemaHasTheFieldsOfTheTypes(t *testing.T) {
	compare(t, "report", reflect.TypeFor[check.Report](), compile(t, "report.schema.json"))
	compare(t, "list", reflect.TypeFor[check.Listing](), compile(t, "list.schema.json"))
}

// compare compares the fields of typ with the properties of s. Messages name them by
// path.
func compare(t *testing.T, path string, typ reflect.Type, s *jsonschema.Schema) {
	t.Helper()
	s = resolve(s)
	if len(s.AllOf) > 0 {
		s = resolve(s.AllOf[0])
	}
	switch {
	case typ.Kind() == reflect.Pointer:
		compare(t, path, typ.Elem(), s)
		return
	case typ.Kind() == reflect.Slice:
		items, ok := s.Items.(*jsonschema.Schema)
		if !ok {
			t.Errorf("%s: the schema has no items", path)
			return
		}
		compare(t, path+"[]", typ.Elem(), items)
		return
	case typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]():
		return
	}
	known := map[string]bool{}
	for _, f := range reflect.VisibleFields(typ) {
		key, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || key == "-" {
			continue
		}
		known[key] = true
		p, ok := s.Properties[key]
		if !ok {
			t.Errorf("%s: the schema has no %s", path, key)
			continue
		}
		if slices.Contains(s.Required, key) != (options == "") {
			t.Errorf("%s: is %s required?", path, key)
		}
		compare(t, path+"."+key, f.Type, p)
	}
	for key, p := range s.Properties {
		if !known[key] {
			t.Errorf("%s: nothing writes %s", path, key)
		}
		if p.Description == "" {
			t.Errorf("%s.%s has no description", path, key)
		}
	}
}

func TestReportSchemaHasTheWordsOfTheTypes(t *testing.T) {
	s := compile(t, "report.schema.json")
	result := resolve(s.Properties["results"].Items.(*jsonschema.Schema))
	target := resolve(s.Properties["targets"].Items.(*jsonschema.Schema))
	notice := resolve(result.Properties["notices"].Items.(*jsonschema.Schema))
	endpoint := resolve(result.Properties["endpoints"].Items.(*jsonschema.Schema))
	holder := resolve(result.Properties["holders"].Items.(*jsonschema.Schema))
	sameWords(t, result.Properties["status"], check.Statuses...)
	sameWords(t, result.Properties["method"], check.BindTable, check.Bind, check.Table, check.Connect, check.None)
	sameWords(t, result.Properties["expect"], config.Free, config.Listening, config.Reachable, config.Unreachable)
	sameWords(t, notice.Properties["code"], config.NoticeCodes...)
	sameWords(t, target.Properties["namespace"].Properties["kind"], host.NamespaceHost, host.NamespaceContainer, host.NamespaceUnknown)
	sameWords(t, endpoint.Properties["outcome"], host.OK, host.InUse, host.Denied, host.NoAddress, host.NoFamily, host.Excluded, host.Failed, host.NotTried)
	sameWords(t, holder.Properties["state"], host.Listen, host.Bound, host.Connected, host.TimeWait, host.Closing, host.Allocated)
}

func sameWords[S ~string](t *testing.T, s *jsonschema.Schema, want ...S) {
	t.Helper()
	var got []S
	for _, v := range s.Enum.Values {
		got = append(got, S(v.(string)))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: the schema has %v, the code %v", s.Location, got, want)
	}
}
