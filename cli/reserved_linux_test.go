package cli

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// TestReservedPortsAreNotEphemeral checks that a server on a port which the administrator
// has reserved for it is not taken for a client's socket.
func TestReservedPortsAreNotEphemeral(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_reserved_ports", []byte("40000-40001"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	before := mustInDir(t, dir, "list", "-f", "json")
	writeText(t, filepath.Join(dir, "base.json"), before)
	if !strings.Contains(before, `"reserved": "40000-40001"`) {
		t.Errorf("the list does not have the reserved ports:\n%s", before)
	}
	for _, address := range []string{"127.0.0.1:40000", "127.0.0.1:40002"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	for _, address := range []string{"0.0.0.0:40001", "0.0.0.0:40002"} {
		l, err := net.ListenPacket("udp4", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}

	mustInDir(t, dir, "init", "--from-host")
	manifest, err := os.ReadFile(filepath.Join(dir, "portcheck.yml"))
	if err != nil {
		t.Fatal(err)
	}
	needs, left, _ := strings.Cut(string(manifest), "# - ")
	for _, port := range []string{"40000", "40001"} {
		if !strings.Contains(needs, "port: "+port) {
			t.Errorf("%s is reserved, and there is no need for it:\n%s", port, manifest)
		}
	}
	for _, want := range []string{"tcp 127.0.0.1 port 40002: the system has chosen the port", "udp 0.0.0.0 port 40002: the system has chosen the port"} {
		if !strings.Contains(left, want) {
			t.Errorf("not left out: %s\n%s", want, manifest)
		}
	}

	out, _ := inDir(dir, nil, "diff", "base.json")
	if !strings.Contains(out, "appeared: udp 0.0.0.0:40001") || strings.Contains(out, "udp 0.0.0.0:40002") {
		t.Errorf("diff:\n%s", out)
	}
	out, _ = inDir(dir, nil, "--undeclared=error", "-p", "80")
	if !strings.Contains(out, "udp 0.0.0.0:40001 is served by") || strings.Contains(out, "40002") {
		t.Errorf("undeclared:\n%s", out)
	}
}
