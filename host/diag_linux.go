package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/netlink"
	"github.com/org/portcheck/port"
)

// Attributes and bytecode of include/uapi/linux/inet_diag.h.
const (
	diagRequestBytecode = 1
	diagAttrV6Only      = 11
	diagAttrCgroup      = 21

	diagJump       = 1  // INET_DIAG_BC_JMP
	diagSourceMin  = 2  // INET_DIAG_BC_S_GE
	diagSourceMax  = 3  // INET_DIAG_BC_S_LE
	diagTCP        = 18 // TCPDIAG_GETSOCK
	diagByFamily   = 20 // SOCK_DIAG_BY_FAMILY
	diagIDLen      = 48
	diagMessageLen = 72
)

const (
	diagAttempts = 3 // for a dump that is interrupted, overrun or broken
	diagSilence  = 5 * time.Second
	// diagFilterRanges bounds the port filter in the kernel, which compares
	// each socket once or twice with each range.
	diagFilterRanges = 256
)

// readDiag reads one protocol's sockets of both families. It returns all of them
// or an error.
func readDiag(ctx context.Context, q query, devices *devices) ([]Socket, error) {
	var err error
	for range diagAttempts {
		var sockets []Socket
		if sockets, err = readDiagOnce(ctx, q, devices); err == nil {
			return sockets, nil
		}
		if ctx.Err() != nil || !mayWorkAgain(err) {
			break
		}
	}
	return nil, err
}

// mayWorkAgain reports whether another dump may work after this error of one.
func mayWorkAgain(err error) bool {
	return errors.Is(err, netlink.ErrInterrupted) || errors.Is(err, netlink.ErrBroken) || errors.Is(err, unix.ENOBUFS)
}

func readDiagOnce(ctx context.Context, q query, devices *devices) ([]Socket, error) {
	var all []Socket
	for _, r := range diagRequests(q) {
		err := netlink.Dump(ctx, netlink.SockDiag, r, diagSilence, func(message []byte) error {
			s, wanted, err := parseDiag(message, q, devices.name)
			if wanted {
				s.DeviceAddrs = devices.addrs(s)
				if len(all) == cap(all) {
					all = slices.Grow(all, len(all)) // append copies large slices more often
				}
				all = append(all, s)
			}
			return err
		})
		ipv6 := r.Type == diagByFamily && r.Payload[0] == unix.AF_INET6
		if ipv6 && errors.Is(err, unix.ENOENT) && !haveIPv6() {
			continue // a kernel without IPv6 has no such table
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// diagRequests returns the requests for the dumps that answer a query.
//
// For TCP it uses the older form of inet_diag, the only one that returns both
// families at once. A dump of listening sockets makes the kernel walk over these
// alone. For any other state it walks over all sockets that have a port, which is
// what takes time on a host with many of them.
// Source: inet_diag_dump_compat of net/ipv4/inet_diag.c.
func diagRequests(q query) []netlink.Request {
	if q.protocol == port.TCP {
		return []netlink.Request{{Type: diagTCP, Payload: tcpRequest(q)}}
	}
	return []netlink.Request{
		{Type: diagByFamily, Payload: udpRequest(unix.AF_INET, q)},
		{Type: diagByFamily, Payload: udpRequest(unix.AF_INET6, q)},
	}
}

// tcpRequest returns an inet_diag_req: family and lengths, socket ID, states,
// and a field that the kernel does not use. Fields that are not set are zero.
func tcpRequest(q query) []byte {
	states := uint32(1<<tcpListen | 1<<tcpBoundInactive)
	switch {
	case q.every:
		states = ^uint32(0)
	case q.listening:
		states = 1 << tcpListen
	}
	data := make([]byte, 4+diagIDLen+8)
	binary.NativeEndian.PutUint32(data[4+diagIDLen:], states)
	return withFilter(data, q.ports)
}

// udpRequest returns an inet_diag_req_v2: family, protocol, states, socket ID.
// It selects all states, because a connected socket holds its port as well, unless the
// query is about sockets that are not connected.
func udpRequest(family byte, q query) []byte {
	data := make([]byte, 8+diagIDLen)
	data[0], data[1] = family, unix.IPPROTO_UDP
	states := ^uint32(0)
	if q.listening {
		states = 1 << tcpClose
	}
	binary.NativeEndian.PutUint32(data[4:], states)
	return withFilter(data, q.ports)
}

// withFilter appends the port filter, if there is one.
func withFilter(data []byte, ports *port.Bits) []byte {
	code := portFilter(ports)
	if code == nil {
		return data
	}
	return netlink.AppendAttribute(data, diagRequestBytecode, code)
}

// portFilter returns the bytecode for "local port in one of these ranges", or
// nil if there are too many ranges or all ports are wanted. Each operation has
// two offsets of the next one: if it is true, and if it is false. A program
// accepts a socket when it arrives at its end, and rejects it when it arrives 4
// bytes behind the end.
// Source: inet_diag_bc_run and inet_diag_bc_audit of net/ipv4/inet_diag.c.
func portFilter(ports *port.Bits) []byte {
	if ports == nil {
		return nil
	}
	var ranges []port.Range
	for n := ports.Next(0); n <= port.MaxPort; {
		beyond := ports.NextMissing(uint16(n))
		ranges = append(ranges, port.Range{First: uint16(n), Last: uint16(beyond - 1)})
		if len(ranges) > diagFilterRanges {
			return nil
		}
		if beyond > port.MaxPort {
			break
		}
		n = ports.Next(uint16(beyond))
	}
	const compare, jump = 8, 4
	total := len(ranges)*(2*compare+jump) - jump
	var code []byte
	op := func(kind, yes byte, no int) {
		code = append(code, kind, yes)
		code = binary.NativeEndian.AppendUint16(code, uint16(no))
	}
	for i, r := range ranges {
		left := total - len(code)
		miss := 2*compare + jump // to the next range
		if i == len(ranges)-1 {
			miss = left + 4 // beyond the end
		}
		op(diagSourceMin, compare, miss)
		op(0, 0, int(r.First))
		op(diagSourceMax, compare, miss-compare)
		op(0, 0, int(r.Last))
		if i < len(ranges)-1 {
			op(diagJump, jump, total-len(code))
		}
	}
	return code
}

// parseDiag parses an inet_diag_msg and its attributes. ok is false for a socket
// that the query does not select.
func parseDiag(data []byte, q query, device func(uint32) string) (s Socket, ok bool, err error) {
	if len(data) < diagMessageLen {
		return s, false, fmt.Errorf("%w: message of %d bytes, want %d", netlink.ErrBroken, len(data), diagMessageLen)
	}
	s.Protocol = q.protocol
	s.Port = binary.BigEndian.Uint16(data[4:])
	if s.Port == 0 || q.ports != nil && !q.ports.Has(s.Port) {
		return s, false, nil
	}
	addrAt := func(at int) netip.Addr {
		if data[0] == unix.AF_INET {
			return netip.AddrFrom4([4]byte(data[at : at+4]))
		}
		return netip.AddrFrom16([16]byte(data[at : at+16])).Unmap()
	}
	if data[0] != unix.AF_INET && data[0] != unix.AF_INET6 {
		return s, false, fmt.Errorf("%w: address family %d", netlink.ErrBroken, data[0])
	}
	s.Addr = addrAt(8)
	if awaitsPeer(q.protocol, data[1]) {
		s.Peer = netip.AddrPortFrom(addrAt(24), binary.BigEndian.Uint16(data[6:]))
	}
	s.State = stateOf(q.protocol, data[1])
	if index := binary.NativeEndian.Uint32(data[40:]); index != 0 {
		s.Device = device(index)
	}
	s.Inode = uint64(binary.NativeEndian.Uint32(data[68:]))
	if uid := binary.NativeEndian.Uint32(data[64:]); s.Inode != 0 {
		s.UID = &uid // for a socket without an inode the kernel writes 0
	}
	for rest := data[diagMessageLen:]; len(rest) >= 4; {
		kind, value, behind, ok := netlink.CutAttribute(rest)
		if !ok {
			return s, false, fmt.Errorf("%w: no whole attribute in %d bytes", netlink.ErrBroken, len(rest))
		}
		switch {
		case kind == diagAttrV6Only && len(value) >= 1:
			s.V6Only = value[0] != 0
		case kind == diagAttrCgroup && len(value) >= 8:
			s.Cgroup = binary.NativeEndian.Uint64(value)
		}
		rest = behind
	}
	return s, true, nil
}

// devices caches the names of interfaces by their index, and what addrs returns by name.
type devices struct {
	names map[uint32]string
	odd   map[string][]netip.Addr
}

func newDevices() *devices { return &devices{map[uint32]string{}, map[string][]netip.Addr{}} }

func (d *devices) name(index uint32) string {
	name, known := d.names[index]
	if !known {
		name = fmt.Sprint(index)
		if found, err := deviceNameOf(int(index)); err == nil {
			name = found
		}
		d.names[index] = name
	}
	return name
}

// addrs returns DeviceAddrs of a listening socket.
func (d *devices) addrs(s Socket) []netip.Addr {
	if s.State != Listen || s.Device == "" {
		return nil
	}
	odd, known := d.odd[s.Device]
	if !known {
		odd = oddAddrs(s.Device)
		d.odd[s.Device] = odd
	}
	return odd
}

func oddAddrs(device string) []netip.Addr {
	it, err := net.InterfaceByName(device)
	if err != nil {
		return nil
	}
	all, _ := it.Addrs() // those that can't be read have no caller that is known
	var odd []netip.Addr
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if addr := prefix.Addr().Unmap(); err == nil && addr.IsLoopback() != (device == loopbackDevice) {
			odd = append(odd, addr)
		}
	}
	return odd
}
