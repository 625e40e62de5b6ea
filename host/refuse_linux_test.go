package host

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

// TestDialsThatAreRefused checks that no connect reaches an address that is
// refused, although a server answers there, whatever name leads to it.
func TestDialsThatAreRefused(t *testing.T) {
	if !inParallel(t) {
		return
	}
	if _, err := exec.LookPath("ip"); err != nil {
		testbed.Missing(t, err.Error())
	}
	l, err := net.Listen("tcp", ":8080")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	refused := []string{
		"169.254.169.254", "169.254.1.1", "168.63.129.16", "100.100.100.200", "192.0.0.192",
		"fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42", "fd00:c1::a9fe:a9fe", "fe80::1%lo",
		"64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1",
	}
	for _, a := range refused {
		addr := netip.MustParseAddr(a)
		add := []string{"addr", "add", addr.WithZone("").String(), "dev", "lo"}
		if addr.Is6() {
			add = append(add, "nodad")
		}
		if out, err := exec.Command("ip", add...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", a, err, out)
		}
		c, err := net.Dial("tcp", net.JoinHostPort(a, "8080"))
		for deadline := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			c, err = net.Dial("tcp", net.JoinHostPort(a, "8080")) // the kernel adds an address's route a little later
		}
		if err != nil {
			t.Fatal(err) // without a server there the test would prove nothing
		}
		_ = c.Close()
		if c, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	file := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(file, []byte("169.254.169.254 meta.example\nfd20:ce::254 meta6.example\n2002:a9fe:a9fe::1 6to4.example\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(file, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		testbed.Missing(t, "names can't be configured: "+err.Error())
	}
	names := map[string]string{"meta.example": "169.254.169.254", "meta6.example": "fd20:ce::254", "6to4.example": "2002:a9fe:a9fe::1", "::ffff:169.254.169.254": "169.254.169.254", "::ffff:a9fe:101": "169.254.1.1"}
	for _, a := range refused {
		names[a] = a
	}
	for name, addr := range names {
		a := probeHere(t, Request{Dials: []Dial{{Host: name, Port: 8080}}}).Dialed[0]
		if a.Outcome != NotTried || a.Op != "connect" || a.Addr.String() != addr || !strings.HasPrefix(a.Errno, addr+" is refused: it is ") {
			t.Errorf("%s: %+v", name, a)
		}
	}
	own, err := net.Dial("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { own.Close() })
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { first.Close() })
	if first.RemoteAddr().String() != own.LocalAddr().String() {
		t.Errorf("%s connected to an address that is refused", first.RemoteAddr())
	}
}

// A name may lead to an address that is refused and to another one: only that one
// is connected to.
func TestDialOfANameWithTwoAddresses(t *testing.T) {
	if !inParallel(t) {
		return
	}
	file := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(file, []byte("169.254.169.254 both.example\n127.0.0.2 both.example\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(file, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		testbed.Missing(t, "names can't be configured: "+err.Error())
	}
	tcpListener("127.0.0.2:8080").hold(t)
	if a := dial(t.Context(), Dial{Host: "both.example", Port: 8080}); a.Outcome != OK || a.Addr != netip.MustParseAddr("127.0.0.2") {
		t.Errorf("%+v", a)
	}
}
