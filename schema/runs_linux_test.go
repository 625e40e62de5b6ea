package schema

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/org/portcheck/cli"
	"github.com/org/portcheck/internal/testbed"
)

// TestRunsFollowTheSchema validates the output of the commands on a machine with a
// listener.
func TestRunsFollowTheSchema(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	schemas := map[string]*jsonschema.Schema{}
	for _, name := range []string{"report", "list", "free", "diff", "event"} {
		schemas[name] = compile(t, name+".schema.json")
	}
	t.Chdir(t.TempDir())
	testbed.Python(t, `
import http.server
s = http.server.HTTPServer(("127.0.0.1", 8080), http.server.SimpleHTTPRequestHandler)
print("ready")
s.serve_forever()`)
	for name, text := range map[string]string{
		"free.yml":  "version: 1\nports: [{name: web, port: 8081}, {name: block, port: 8100-8103, protocol: [tcp, udp]}]\n",
		"taken.yml": "version: 1\nrange: 20000-20010\nports: [{name: web, port: 8080}, {name: up, port: 8080, expect: listening, address: 127.0.0.1}]\n",
		"db.yml":    "version: 1\nports: [{name: db, port: 8080, expect: reachable, remote: 127.0.0.1}, {name: gone, port: 9, expect: reachable, remote: 127.0.0.1}]\n",
		"two.yml":   "version: 1\ntargets: {here: local, there: local}\nports: [{name: web, port: 8080, severity: warning}]\n",
		"twice.yml": "version: 1\nports: [{name: a, port: 8081}, {name: b, port: 8081}]\n",
		"auto.yml":  "version: 1\nrange: 8080-8081\nports: [{name: a, port: auto}, {name: b, port: auto, range: 8080}, {name: c, port: auto:2, range: 8082-8089}]\n",
		"bad.yml":   "version: 1\nports: [{name: a, port: 0}]\n",
		"base.json": `{"version": 1, "targets": [{"name": "local", "notices": []}], "sockets": [{"protocol": "tcp", "address": "::1", "port": 8080, "state": "listen"}, {"protocol": "udp", "address": "::", "port": 53, "state": "listen"}]}`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		schema, command string
		code            int
		contains        string // text that shows that the run did what the case is about
	}{
		{"report", "free.yml", 0, `"port_last": 8103`},
		{"report", "taken.yml --show-command", 1, `"process": "python3`},
		{"report", "db.yml", 1, `"status": "unreachable"`},
		{"report", "two.yml", 0, `"warnings": 2`},
		{"report", "twice.yml", 1, `"code": "duplicate"`},
		{"report", "auto.yml", 1, `"auto": true`},
		{"report", "lint auto.yml", 0, `"auto": true`},
		{"report", "auto.yml", 1, `"hostname": "`},
		{"report", "bad.yml", 2, `"line": 2`},
		{"report", "nowhere.yml", 2, `"no such file"`},
		{"report", "-p 8080", 1, `"file": "--port"`},
		{"report", "-p 8081 --range 20000-20010 --candidates 3", 0, `"candidates": "20000-20002"`},
		{"report", "lint free.yml", 0, `"holders": []`},
		{"report", "lint twice.yml", 1, `"code": "duplicate"`},
		{"list", "list --show-command", 0, `"pid"`},
		{"event", "watch -p 8080 --until unmet", 0, `"event":"unmet"`},
		{"report", "-t local free.yml --undeclared --undeclared-loopback", 1, `"status": "undeclared"`},
		{"diff", "diff base.json", 1, `"kind": "gone"`},
		{"diff", "diff base.json base.json --allow-unknown", 0, `"kind": "unknown"`},
		{"free", "free --range 8080-8081 -n 2", 1, `[8081]`},
		{"free", "free --range 8080", 1, `[]`},
		{"free", "free --range 8080-8089 --block 2 -n 2", 0, `"blocks":["8081-8082","8083-8084"]`},
	} {
		var stdout, stderr bytes.Buffer
		args := append(strings.Fields(c.command), "-f", "json")
		code := cli.Run(t.Context(), args, []string{"PATH=" + os.Getenv("PATH")}, strings.NewReader(""), &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.contains) {
			t.Errorf("%s: exit code %d, want %d and %s\n%s%s", c.command, code, c.code, c.contains, &stdout, &stderr)
			continue
		}
		v, err := jsonschema.UnmarshalJSON(&stdout)
		if err != nil {
			t.Errorf("%s: %v", c.command, err)
			continue
		}
		if err := schemas[c.schema].Validate(v); err != nil {
			t.Errorf("%s: %v", c.command, err)
		}
	}
}
