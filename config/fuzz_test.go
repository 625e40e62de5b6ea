package config

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/port"
)

// checkProblem checks what holds for every problem of a file's text: its position
// is in the file, and its message is one printable line without a command for a
// CI runner.
func checkProblem(t *testing.T, p Problem, data []byte) {
	t.Helper()
	for _, r := range p.Message {
		if r < ' ' || r > '~' {
			t.Errorf("message contains %U: %q", r, p.Message)
		}
	}
	if p.Message == "" || len(p.Message) > 1500 || strings.Contains(p.Message, "##") || strings.Contains(p.Message, "@@") {
		t.Errorf("message is empty, long or a command: %q", p.Message)
	}
	text := bytes.ReplaceAll(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), []byte("\r\n"), []byte("\n"))
	rows := strings.Split(strings.ReplaceAll(string(text), "\r", "\n"), "\n")
	if p.Line < 1 || p.Line > len(rows) {
		t.Fatalf("%v: the file has %d lines", p, len(rows))
	}
	if row := rows[p.Line-1]; p.Column < 1 || p.Column > utf8.RuneCountInString(row)+1 {
		t.Errorf("%v: the line has %d characters: %q", p, utf8.RuneCountInString(row), row)
	}
}

func FuzzParse(f *testing.F) {
	for _, dir := range []string{"valid", "invalid"} {
		files, err := filepath.Glob(filepath.Join(manifests, dir, "*.yml"))
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds in %s: %v", dir, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, found := parse("portcheck.yml", data, Options{})
		for _, p := range found {
			checkProblem(t, p.Problem, data)
			if p.locate != nil {
				p.Position = p.locate()
				checkProblem(t, p.Problem, data)
			}
		}
		checkEffort(t, data)
		if len(found) > 0 {
			return
		}
		checkManifest(t, m)
		checkSetPorts(t, m, data)
	})
}

// checkSetPorts checks that the ports of a valid manifest can be replaced, or that the
// error is about the text of one of them, and that everything around them stays.
func checkSetPorts(t *testing.T, m Manifest, data []byte) {
	t.Helper()
	ports := map[Position]port.Range{}
	for i, p := range m.Ports {
		first := uint16(20000 + i%20000)
		ports[p.At] = port.Range{First: first, Last: first + uint16(min(p.Ports.Len(), 1000)-1)}
	}
	after, problems := m.withPorts(data, ports)
	for _, p := range problems {
		if !strings.Contains(p.Message, "can't be replaced in this text") {
			t.Fatalf("%v in %q", p, data)
		}
	}
	if len(problems) > 0 {
		return
	}
	words := func(text []byte) string { // without numbers and the word auto
		return strings.Trim(regexp.MustCompile("[0-9-]+|auto(:[0-9]+)?").ReplaceAllString(string(text), ""), " ")
	}
	if words(after) != words(data) {
		t.Fatalf("%q became %q", data, after)
	}
}

// checkEffort checks what effort promises of the nodes of a text: how many there are,
// and where blocks start.
func checkEffort(t *testing.T, data []byte) {
	t.Helper()
	data, found := checkText("portcheck.yml", data)
	marks, err := effort(data)
	docs, bad := documents(data)
	if found != nil || err != nil || bad != nil {
		return
	}
	rows := strings.Split(strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\r", "\n"), "\n")
	nodes := 0
	var visit func(n *yaml.Node)
	visit = func(n *yaml.Node) {
		nodes++
		if (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) && n.Style&yaml.FlowStyle == 0 {
			row := []rune(rows[n.Line-1])
			property := slices.Contains([]rune("&!"), row[n.Column-1]) // an anchor or a tag may be on the line before
			if !property && strings.Trim(string(row[:n.Column-1]), " \t-?:") != "" {
				t.Errorf("a block starts at line %d, column %d: %q", n.Line, n.Column, data)
			}
		}
		for _, child := range n.Content {
			visit(child)
		}
	}
	for _, doc := range docs {
		visit(doc.Content[0])
	}
	if limit := 2*marks + len(docs); nodes > limit {
		t.Errorf("%d nodes, want at most %d for %d marks: %q", nodes, limit, marks, data)
	}
}

// Random texts of the characters that mean something to YAML.
func TestEffortIsAnUpperBound(t *testing.T) {
	parts := []string{"- ", "? ", ": ", "-", "?", ":", "a", "b", " ", "  ", "\n", "\n", "\n ", "\r", ", ", ",", "[", "]", "{", "}", "#", " #", "&a ", "*a", "!t ", "\"", "'", "|\n", ">\n", "---\n", "...\n", "%YAML 1.1\n", "a: b\n", "\t", "<<: "}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		var text strings.Builder
		for range 1 + random.IntN(12) {
			text.WriteString(parts[random.IntN(len(parts))])
		}
		checkEffort(t, []byte(text.String()))
	}
}

// checkManifest checks what holds for every manifest without problems.
func checkManifest(t *testing.T, m Manifest) {
	t.Helper()
	if m.App == "" || len(m.Ports) == 0 {
		t.Errorf("no problem, but app %q and %d needs", m.App, len(m.Ports))
	}
	for _, p := range m.Ports {
		switch {
		case p.At.Line == 0, p.Name == "", p.Ports.First == 0, p.Ports.First > p.Ports.Last, len(p.Protocols) == 0, p.Wait < 0:
			t.Errorf("a need with an invalid value: %+v", p)
		case p.Expect.Connects() != (p.Remote != ""), p.Expect.Connects() != (len(p.Addresses) == 0):
			t.Errorf("a need that mixes bind and connect: %+v", p)
		}
		for _, o := range p.Owner {
			if o == (Owner{}) {
				t.Errorf("an owner that matches every process: %+v", p)
			}
		}
	}
}
