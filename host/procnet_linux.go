package host

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/org/portcheck/port"
)

// readProcNet reads one protocol from /proc/net. It has no row for a socket
// that is bound and does not listen, and no V6ONLY flag: a listener on [::] is
// taken for dual-stack.
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
		sockets, err := parseProcNet(f, q)
		_ = f.Close()
		if err != nil {
			return nil, &stepError{"read " + path, err}
		}
		all = append(all, sockets...)
	}
	return all, nil
}

// parseProcNet reads the text of /proc/net/{tcp,udp}{,6}.
func parseProcNet(r io.Reader, q query) ([]Socket, error) {
	lines := bufio.NewScanner(r)
	if !lines.Scan() || !strings.Contains(lines.Text(), "local_address") {
		return nil, errors.Join(errors.New("no header line"), lines.Err())
	}
	var all []Socket
	for lines.Scan() {
		s, err := parseProcNetLine(lines.Text(), q.protocol)
		if err != nil {
			return nil, err
		}
		held := holdsForGood(s) || q.protocol == port.UDP
		if s.Port != 0 && (q.every || held) && (q.ports == nil || q.ports.Has(s.Port)) {
			all = append(all, s)
		}
	}
	return all, lines.Err()
}

// parseProcNetLine reads
//
//	sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
func parseProcNetLine(line string, protocol port.Protocol) (Socket, error) {
	s := Socket{Endpoint: port.Endpoint{Protocol: protocol}}
	bad := func(what string) (Socket, error) {
		return Socket{}, fmt.Errorf("unexpected %s in line %.200q", what, line)
	}
	fields := strings.Fields(line)
	if len(fields) < 10 {
		return bad("number of fields")
	}
	addr, number, _ := strings.Cut(fields[1], ":")
	n, err := strconv.ParseUint(number, 16, 16)
	if err != nil {
		return bad("port")
	}
	s.Port = uint16(n)
	raw, err := hex.DecodeString(addr)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return bad("address")
	}
	// The address is printed as 32-bit words in the host's byte order.
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	s.Addr, _ = netip.AddrFromSlice(raw)
	s.Addr = s.Addr.Unmap()
	state, err := strconv.ParseUint(fields[3], 16, 8)
	if err != nil {
		return bad("state")
	}
	s.State = stateOf(protocol, byte(state))
	uid, err := strconv.ParseUint(fields[7], 10, 32)
	if err != nil {
		return bad("uid")
	}
	if s.Inode, err = strconv.ParseUint(fields[9], 10, 64); err != nil {
		return bad("inode")
	}
	if s.Inode != 0 {
		u := uint32(uid)
		s.UID = &u
	}
	return s, nil
}
