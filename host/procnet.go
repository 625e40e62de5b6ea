package host

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/org/portcheck/port"
)

// The kernel's numbers of socket states. 13 exists since Linux 6.8; an older
// kernel ignores it in a request.
// Source: include/net/tcp_states.h.
const (
	tcpEstablished   = 1
	tcpSynSent       = 2
	tcpSynRecv       = 3
	tcpFinWait1      = 4
	tcpTimeWait      = 6
	tcpClose         = 7
	tcpLastAck       = 9
	tcpListen        = 10
	tcpClosing       = 11
	tcpNewSynRecv    = 12
	tcpBoundInactive = 13
)

// parseProcNet parses the text of /proc/net/{tcp,udp}{,6} of a machine with this
// byte order.
func parseProcNet(r io.Reader, q query, order binary.ByteOrder) ([]Socket, error) {
	lines := bufio.NewScanner(r)
	if !lines.Scan() || !strings.Contains(lines.Text(), "local_address") {
		return nil, errors.Join(errors.New("no header line"), lines.Err())
	}
	if q.protocol == port.UDP && !strings.Contains(lines.Text(), "drops") {
		return nil, errors.New("the header is not that of Linux") // of gVisor, where udp6 never has a row
	}
	var all []Socket
	for lines.Scan() {
		s, err := parseProcNetLine(lines.Text(), q.protocol, order)
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

// parseProcNetLine parses
//
//	sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
func parseProcNetLine(line string, protocol port.Protocol, order binary.ByteOrder) (Socket, error) {
	s := Socket{Endpoint: port.Endpoint{Protocol: protocol}}
	bad := func(what string) (Socket, error) {
		return Socket{}, fmt.Errorf("unexpected %s in line %.200q", what, line)
	}
	fields := strings.Fields(line)
	if len(fields) < 10 {
		return bad("number of fields")
	}
	local, err := parseProcAddr(fields[1], order)
	if err != nil {
		return bad(err.Error())
	}
	s.Addr, s.Port = local.Addr(), local.Port()
	s.MayBeV6Only = s.Addr == netip.IPv6Unspecified()
	state, err := strconv.ParseUint(fields[3], 16, 8)
	if err != nil {
		return bad("state")
	}
	s.State = stateOf(protocol, byte(state))
	if awaitsPeer(protocol, byte(state)) {
		if s.Peer, err = parseProcAddr(fields[2], order); err != nil {
			return bad("peer: " + err.Error())
		}
	}
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

// parseProcAddr parses an address and a port: the address is printed as 32-bit words in
// the machine's byte order.
func parseProcAddr(text string, order binary.ByteOrder) (netip.AddrPort, error) {
	addr, number, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(number, 16, 16)
	if err != nil {
		return netip.AddrPort{}, errors.New("port")
	}
	raw, err := hex.DecodeString(addr)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, errors.New("address")
	}
	for i := 0; i < len(raw); i += 4 {
		order.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), nil
}

// awaitsPeer reports whether a connection in this state lasts until its peer
// acknowledges its end. All others that nobody has open are gone within a minute.
func awaitsPeer(protocol port.Protocol, state byte) bool {
	return protocol == port.TCP && (state == tcpFinWait1 || state == tcpClosing || state == tcpLastAck)
}

func stateOf(protocol port.Protocol, state byte) State {
	if protocol == port.UDP {
		if state == tcpEstablished {
			return Connected
		}
		return Listen
	}
	switch state {
	case tcpListen:
		return Listen
	case tcpBoundInactive, tcpClose:
		return Bound
	case tcpEstablished, tcpSynSent, tcpSynRecv, tcpNewSynRecv:
		return Connected
	case tcpTimeWait:
		return TimeWait
	}
	return Closing
}
