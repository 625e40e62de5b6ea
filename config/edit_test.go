package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/portcheck/port"
)

// In every valid manifest, all ports can be replaced, and nothing else changes.
func TestSetPortsOfValidManifests(t *testing.T) {
	files, err := filepath.Glob("../testdata/manifests/valid/*.yml")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	tried := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if isCompose(file, data) || isKubernetes(file, data) || isWorkflow(file, data) {
			continue
		}
		m, found := parseManifest(file, data)
		if len(found) > 0 {
			t.Fatal(file, found)
		}
		ports := map[Position]port.Range{}
		for i, p := range m.Ports {
			first := uint16(10000 + 100*i)
			ports[p.At] = port.Range{First: first, Last: first + uint16(p.Ports.Len()-1)}
		}
		before, after, problems := SetPorts(file, ports, nil)
		if len(problems) > 0 {
			t.Errorf("%s: %v", file, problems)
			continue
		}
		tried += len(m.Ports)
		if string(before) != string(data) || strings.Count(string(after), "\n") != strings.Count(string(data), "\n") {
			t.Errorf("%s:\n%s", file, after)
		}
		// With the old ports again, where these are numbers, it is the same text.
		again, found := parseManifest(file, after)
		if len(found) > 0 {
			t.Fatal(file, found)
		}
		back := map[Position]port.Range{}
		autos := false
		for i, p := range m.Ports {
			autos = autos || p.Auto
			back[again.Ports[i].At] = p.Ports
		}
		if autos {
			continue
		}
		restored, problems := again.withPorts(after, back)
		if len(problems) > 0 || string(restored) != strings.Replace(string(data), "port: 1-1,", "port: 1,", 1) {
			t.Errorf("%s: %v\nwant %q\ngot  %q", file, problems, data, restored)
		}
	}
	if tried < 20 {
		t.Errorf("only %d ports", tried)
	}
}

func TestSetPorts(t *testing.T) {
	t.Chdir(t.TempDir())
	const text = "\xef\xbb\xbfversion: 1\r\napp: ü # 8080\r\nports:\r\n- {name: a, port: '8080' , range: 8080-8081}\r\n- name: b\r\n  port:\t8080\r\n"
	if err := os.WriteFile("p.yml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	a, b := Position{"p.yml", 4, 19}, Position{"p.yml", 6, 9}
	_, after, problems := SetPorts("p.yml", map[Position]port.Range{a: port.One(9), b: {First: 50000, Last: 50000}}, nil)
	if want := strings.Replace(strings.Replace(text, "'8080'", "'9'", 1), "\t8080", "\t50000", 1); string(after) != want || len(problems) > 0 {
		t.Errorf("got %q, %v\nwant %q", after, problems, want)
	}
	if _, _, problems := SetPorts("p.yml", map[Position]port.Range{{"p.yml", 6, 8}: port.One(9)}, nil); len(problems) != 1 || problems[0].Message != "the file has changed since it was read" {
		t.Errorf("a position without a port: %v", problems)
	}
}
