package host

import (
	"os/exec"
	"testing"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// A socket that the app binds to a device conflicts with one of that device, and with
// one of none. A device that is not there is an address that is not there.
func TestBindToDevice(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	testbed.NeedRoot(t)
	if out, err := exec.Command("ip", "link", "add", "eth7", "type", "veth", "peer", "name", "eth8").CombinedOutput(); err != nil {
		testbed.Missing(t, "needs two interfaces: "+string(out))
	}
	testbed.Python(t, `
import socket, time
for port, device in ((8080, b"eth7"), (8082, None)):
    s = socket.socket()
    if device: s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
    s.bind(("0.0.0.0", port))
    s.listen()
    globals()["s%d" % port] = s
print("ready")
time.sleep(1000)`)
	for _, c := range []struct {
		device string
		port   uint16
		want   Outcome
		errno  string
	}{
		{"eth7", 8080, InUse, "EADDRINUSE"},
		{"eth8", 8080, OK, ""},
		{"", 8080, InUse, "EADDRINUSE"},
		{"eth7", 8081, OK, ""},
		{"eth7", 8082, InUse, "EADDRINUSE"},
		{"eth9", 8083, NoAddress, "ENODEV"},
	} {
		b := port.Binding{Protocol: port.TCP, Addresses: []port.Address{port.Any4}, ReuseAddress: true, Device: c.device}
		facts, err := Local{}.Probe(t.Context(), Request{Tries: []Try{{Binding: b, Ports: port.One(c.port)}}})
		if err != nil {
			t.Fatal(err)
		}
		if a := facts.Tried[0].Attempts[0]; a.Outcome != c.want || a.Errno != c.errno || a.Device != c.device {
			t.Errorf("%+v: %+v", c, a)
		}
		if got := len(facts.Sockets) > 0; got != (c.want == InUse) {
			t.Errorf("%+v: sockets %+v", c, facts.Sockets)
		}
	}
}
