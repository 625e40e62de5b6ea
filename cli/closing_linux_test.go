package cli

import (
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// A connection that was closed, and whose peer reads nothing, lasts: the remedy names the
// peer, and does not say that the system releases the port soon.
func TestClosedConnectionOfAPeerThatReadsNothing(t *testing.T) {
	t.Parallel()
	if !testbed.Isolated(t) {
		return
	}
	_, peer := testbed.Python(t, `
import os, socket, time
listener = socket.socket()
listener.bind(("127.0.0.1", 8080))
listener.listen()
peer = socket.create_connection(("127.0.0.1", 8080))
served = listener.accept()[0]
listener.close()
served.setblocking(False)
try:
    while True: served.send(bytes(65536))
except BlockingIOError:
    pass
served.close()
while " 04 " not in open("/proc/net/tcp").read(): time.sleep(.01) # FIN-WAIT-1
print("%s:%d" % peer.getsockname())
time.sleep(1000)`)
	out, err := inDir(".", nil, "check", "-p", "127.0.0.1:8080")
	if err == nil || !strings.Contains(out, "let "+peer+" read what was sent") || strings.Contains(out, "within a minute") || strings.Contains(out, "--wait") {
		t.Errorf("%v\n%s", err, out)
	}
}
