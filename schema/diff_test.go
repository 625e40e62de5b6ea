package schema

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/internal/within"
)

// TestDiffSchemaHasTheFieldsOfTheTypes checks the schema of what diff writes.
func TestDiffSchemaHasTheFieldsOfTheTypes(t *testing.T) {
	s := compile(t, "diff.schema.json")
	compare(t, "diff", reflect.TypeFor[check.Diff](), s)
	sameWords(t, resolve(resolve(s.Properties["changes"]).Items.(*jsonschema.Schema)).Properties["kind"], check.ChangeKinds...)
}

// TestAllowSchemaAgreesWithTheReader checks that an editor with the schema and diff
// agree on which allow files are valid.
func TestAllowSchemaAgreesWithTheReader(t *testing.T) {
	s := compile(t, "allow.schema.json")
	for text, valid := range map[string]bool{
		"version: 1\nallow: []":                                       true,
		"version: 1\nallow: [{port: 22}]":                             true,
		"version: 1\nallow: [{port: [22, 8000-8099], process: sshd}]": true,
		"version: 1\nx-note: 1\nallow: [{user: root, x-a: 1}]":        true,
		"version: 1\nallow: [{address: [loopback, 10.0.0.1], protocol: [tcp, udp], unit: a.service, reason: why}]": true,
		"version: 1\nallow: [{container: web, image: '*/nginx:*', compose: shop/web, executable: /usr/sbin/x}]":    true,
		"version: 1":                                      false,
		"allow: []":                                       false,
		"version: 2\nallow: []":                           false,
		"version: 1\nallow: {}":                           false,
		"version: 1\nallow: [22]":                         false,
		"version: 1\nallow: [{}]":                         false,
		"version: 1\nallow: [{reason: why}]":              false,
		"version: 1\nallow: [{x-a: 1}]":                   false,
		"version: 1\nallow: [{port: 0}]":                  false,
		"version: 1\nallow: [{port: auto}]":               false,
		"version: 1\nallow: [{process: '*'}]":             false,
		"version: 1\nallow: [{process: 1}]":               false,
		"version: 1\nallow: [{port: 22, proces: sshd}]":   false,
		"version: 1\nallow: [{port: 22, protocol: sctp}]": false,
		"version: 1\nallow: [{port: 22, address: here}]":  false,
		"version: 1\nallow: [{port: 22, reason: ''}]":     false,
		"version: 1\nallow: []\nports: []":                false,
		"[]":                                              false,
	} {
		file := filepath.Join(t.TempDir(), "allow.yml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, problems := config.LoadAllowed([]string{file}, nil, []within.Dir{})
		if read, schema := len(problems) == 0, validate(s, []byte(text)); read != valid || (schema == nil) != valid {
			t.Errorf("%s\nvalid: %v, want %v by the reader: %v, by the schema: %v", text, read, valid, problems, fmt.Sprint(schema))
		}
	}
}
