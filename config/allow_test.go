package config

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/org/portcheck/port"
)

func TestLoadAllowed(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a.yml", "version: 1\nallow:\n  - {port: [22, 8000-8099], protocol: tcp, process: sshd, reason: the admins' own}\n")
	all, problems := LoadAllowed([]string{"a.yml", "-"}, strings.NewReader("\ufeffversion: 1\nallow: [{address: loopback}]"), nil)
	if len(problems) > 0 || len(all) != 2 || !all[0].Ports.Contains(8050) || !slices.Equal(all[0].Protocols, []port.Protocol{port.TCP}) ||
		all[0].Owner.Process != "sshd" || all[0].At.String() != "a.yml:3:5" || all[1].At.String() != "-:2:9" || all[1].Ports != nil {
		t.Errorf("%v %+v", problems, all)
	}
	write("b.yml", "version: 1\nallow: ["+strings.Repeat("{port: 1}, ", maxAllowed+1)+"]")
	for text, want := range map[string]string{
		"":                                      "b.yml:1:1: the allow file is empty: want version and allow",
		"\xff\xfev\x00":                         "b.yml:1:1: is UTF-16: save it as UTF-8",
		"# nothing":                             "b.yml:1:1: the allow file is empty: want version and allow",
		"[]":                                    "b.yml:1:1: not an allow file: want a mapping with version and allow, not a list",
		"version: 1":                            "b.yml:1:1: allow is missing: want a list of entries such as {port: 22, process: sshd}",
		"allow: []":                             "b.yml:1:1: version is missing: want version: 1",
		"version: 1\nallow: {port: 22}":         "b.yml:2:8: allow: want a list of entries such as {port: 22, process: sshd}, not a mapping",
		"version: 1\nallow: [22]":               "b.yml:2:9: allow[0]: want a mapping (key: value), not a number",
		"version: 1\nallow: [{}]":               "b.yml:2:9: allow[0] is empty: it would match every listener; want one or more of port, protocol,",
		"version: 1\nallow: [{reason: a}]":      "b.yml:2:9: allow[0] matches every listener: want one or more of port, protocol,",
		"version: 1\nallow: [{prot: tcp}]":      "b.yml:2:10: unknown key \"prot\": did you mean \"port\"?",
		"version: 1\nallow: [{port: 0}]":        "b.yml:2:16: allow[0].port: ",
		"version: 1\nallow: [{unit: '**'}]":     "b.yml:2:16: allow[0].unit",
		"version: 1\nallow: [&a {port: 1}, *a]": "b.yml:2:",
		"version: 1\nallow: [{port: 1}":         "b.yml:",
		"version: 1\nallow: [" + strings.Repeat("{port: 1}, ", maxAllowed+1) + "]": "more than 1,024 entries, the limit of a run",
	} {
		write("b.yml", text)
		all, problems := LoadAllowed([]string{"a.yml", "b.yml"}, nil, nil)
		if len(problems) == 0 || all != nil || !strings.Contains(problems[0].Error(), want) {
			t.Errorf("%.60q: got %v, want %s", text, problems, want)
		}
	}
	if _, problems := LoadAllowed([]string{"nothing.yml"}, nil, nil); len(problems) != 1 || problems[0].Error() != "nothing.yml: no such file" {
		t.Errorf("%v", problems)
	}
}

// FuzzAllow checks that no text makes the reader of allow files panic, and that it
// returns either entries or problems.
func FuzzAllow(f *testing.F) {
	f.Add([]byte("version: 1\nallow:\n  - {port: [22, 8000-8099], process: sshd}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, found := parseAllowed("allow.yml", data)
		for _, p := range found {
			if p.Line < 1 || p.Column < 1 {
				t.Errorf("%+v has no position", p)
			}
		}
		for _, a := range all {
			if len(found) == 0 && a.Ports == nil && a.Protocols == nil && a.Addresses == nil && a.Owner == (Owner{}) {
				t.Errorf("an entry matches everything: %+v", a)
			}
		}
	})
}
