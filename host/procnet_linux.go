package host

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
)

// readProcNet reads one protocol from /proc/net, which has no row for a TCP socket
// that is bound and does not listen, and no V6ONLY flag.
func readProcNet(q query) ([]Socket, error) {
	var all []Socket
	for _, suffix := range []string{"", "6"} {
		path := "/proc/thread-self/net/" + string(q.protocol) + suffix
		f, err := os.Open(path)
		if suffix == "6" && errors.Is(err, fs.ErrNotExist) && !haveIPv6() {
			continue
		}
		if err != nil {
			return nil, err
		}
		sockets, err := parseProcNet(f, q, binary.NativeEndian)
		_ = f.Close()
		if err != nil {
			return nil, &opError{"read " + path, err}
		}
		all = append(all, sockets...)
	}
	return all, nil
}
