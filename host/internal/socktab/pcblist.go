package socktab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/org/portcheck/port"
)

// The records of net.inet.tcp.pcblist_n and net.inet.udp.pcblist_n on macOS,
// little-endian but for addresses and ports.
//
// Source: struct xinpgen and xinpcb_n of xnu bsd/netinet/in_pcb.h, xtcpcb_n of
// tcp_var.h, xsocket_n of bsd/sys/socketvar.h, all packed to 4 bytes;
// get_pcblist_n of bsd/netinet/in_pcblist.c writes them. The fields that are read are
// the same in xnu-6153 (macOS 10.15), 8019 (12), 8792 (13), 10063 (14), 11215 and 11417
// (15); later versions have appended fields to xsocket_n.
const (
	generationSize = 24 // struct xinpgen, first and last record

	kindSocket = 0x001 // XSO_SOCKET
	kindPCB    = 0x010 // XSO_INPCB: the first record of each entry
	kindTCP    = 0x020 // XSO_TCPCB

	pcbRemotePort = 16
	pcbLocalPort  = 18
	pcbGeneration = 28
	pcbVersions   = 44
	pcbRemote     = 48
	pcbLocal      = 64
	pcbSize       = 80

	versionIPv4 = 0x1 // INP_IPV4
	versionIPv6 = 0x2 // INP_IPV6

	socketType = 16
	socketUID  = 64
	socketSize = 68

	tcpState = 36
	tcpSize  = 40
)

// tcpStates are the names of the states in bsd/netinet/tcp_fsm.h.
var tcpStates = [...]string{
	"CLOSED", "LISTEN", "SYN_SENT", "SYN_RECEIVED", "ESTABLISHED", "CLOSE_WAIT",
	"FIN_WAIT_1", "CLOSING", "LAST_ACK", "FIN_WAIT_2", "TIME_WAIT",
}

// ParsePCBList parses macOS's list of a protocol's sockets, and leaves out those
// without a port. It returns an error for a list without its closing record,
// which is cut off.
func ParsePCBList(list []byte, protocol port.Protocol) ([]Socket, error) {
	if len(list) < generationSize {
		return nil, fmt.Errorf("a list of %d bytes is too short", len(list))
	}
	if count := binary.LittleEndian.Uint32(list[4:]); count == 0 && len(list) == generationSize {
		return nil, nil
	}
	var all []Socket
	var current *Socket
	flush := func() {
		if current != nil && current.Port != 0 {
			all = append(all, *current)
		}
		current = nil
	}
	rest := list[generationSize:]
	for len(rest) >= 8 {
		size, kind := binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint32(rest[4:])
		if size < generationSize || uint64(size) > uint64(len(rest)) {
			return nil, fmt.Errorf("a record of %d bytes where %d are left", size, len(rest))
		}
		if size == generationSize {
			flush()
			return all, nil
		}
		record := rest[:size]
		switch {
		case kind == kindPCB:
			flush()
			s, err := parsePCB(record, protocol)
			if err != nil {
				return nil, err
			}
			current = &s
		case current == nil:
		case kind == kindSocket:
			if len(record) < socketSize {
				return nil, fmt.Errorf("a socket record of %d bytes", len(record))
			}
			// The record is zero if the connection has outlived its socket.
			if binary.LittleEndian.Uint16(record[socketType:]) != 0 {
				uid := binary.LittleEndian.Uint32(record[socketUID:])
				current.UID = &uid
			} else {
				current.ID = 0
			}
		case kind == kindTCP:
			if len(record) < tcpSize {
				return nil, fmt.Errorf("a TCP record of %d bytes", len(record))
			}
			state := binary.LittleEndian.Uint32(record[tcpState:])
			if state >= uint32(len(tcpStates)) {
				return nil, fmt.Errorf("TCP state %d", state)
			}
			current.Status = tcpStates[state]
		}
		rest = rest[min(len(rest), int(size+7)&^7):] // records start at multiples of 8 bytes
	}
	return nil, errors.New("the list is cut off")
}

func parsePCB(record []byte, protocol port.Protocol) (Socket, error) {
	if len(record) < pcbSize {
		return Socket{}, fmt.Errorf("an address record of %d bytes", len(record))
	}
	versions := record[pcbVersions]
	s := Socket{ID: binary.LittleEndian.Uint64(record[pcbGeneration:])}
	s.Protocol = protocol
	s.Port = binary.BigEndian.Uint16(record[pcbLocalPort:])
	s.Addr, s.Device = unscope(pcbAddr(record[pcbLocal:], versions))
	// tcp6_usr_bind and udp6_bind set both versions for a dual-stack socket.
	s.V6Only = s.Addr.Is6() && s.Addr.IsUnspecified() && versions&versionIPv4 == 0
	if remote := binary.BigEndian.Uint16(record[pcbRemotePort:]); remote != 0 {
		s.Remote = netip.AddrPortFrom(pcbAddr(record[pcbRemote:], versions), remote)
	}
	return s, nil
}

// pcbAddr returns the address in 16 bytes: an IPv6 address, or an IPv4 address in
// the last four.
func pcbAddr(b []byte, versions byte) netip.Addr {
	if versions&versionIPv6 == 0 {
		return netip.AddrFrom4([4]byte(b[12:16]))
	}
	return netip.AddrFrom16([16]byte(b[:16])).Unmap()
}
