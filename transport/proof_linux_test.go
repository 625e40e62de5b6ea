package transport

import (
	"bytes"
	"debug/elf"
	"os"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// No helper is created if our own executable does not decide alone what runs: its
// bytes in another image prove nothing then.
func TestProgramsThatDoNotRunAlone(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	runIn(t, selfID)
	own, err := os.ReadFile(staticSelf())
	if err != nil {
		t.Fatal(err)
	}
	dynamic := bytes.Clone(own)
	setSegment(dynamic, 0, elf.PT_INTERP)
	const loader = "the executable of this process is not portcheck, but a program that loads it: start portcheck by itself"
	for name, c := range map[string]struct{ executable, want string }{
		"linked dynamically":     {memoryFile(dynamic), "this portcheck is linked dynamically, so the libraries of an image decide what it does: build it with CGO_ENABLED=0"},
		"no program of Go":       {memoryFile(bytes.ReplaceAll(own, []byte("\xff Go buildinf:"), []byte("\xff No buildinf:"))), loader},
		"another program of Go":  {memoryFile(bytes.ReplaceAll(own, []byte("path\tgithub.com/org/portcheck"), []byte("path\tgithub.com/org/othercheck"))), loader},
		"a script":               {memoryFile([]byte("#!/bin/sh\n")), "this portcheck's executable can't be read: "},
		"an empty file":          {memoryFile(nil), "this portcheck's executable can't be read: "},
		"a file that is cut off": {memoryFile(own[:100]), "this portcheck's executable can't be read: "},
		"no file":                {"/none", "open /none: no such file or directory"},
	} {
		e := startEngine(t)
		o := e.options()
		o.Executable = c.executable
		_, err := probe(t, "container:web", o)
		checkError(t, name, err, "a helper container can't be started: "+c.want)
		if len(e.created) > 0 || e.started {
			t.Errorf("%s: %d helpers were created, started: %v", name, len(e.created), e.started)
		}
	}
}
