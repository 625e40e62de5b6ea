package nat

import (
	"encoding/binary"
	"net/netip"
)

// packet is the headers of a call's first packet, of which only the bits of known
// are known.
type packet struct {
	network, transport header
}

type header struct {
	value, known [40]byte
}

func (h *header) set(offset int, b ...byte) {
	for i, c := range b {
		h.value[offset+i], h.known[offset+i] = c, 0xff
	}
}

const (
	protocolTCP = 6
	protocolUDP = 17

	portOffset = 2 // of the destination in the headers of TCP and UDP
)

// addrOffset returns where the destination is in a network header, and its length.
func addrOffset(family uint8) (offset, length int) {
	if family == familyIPv4 {
		return 16, 4
	}
	return 24, 16
}

func packetOf(c call) packet {
	var p packet
	offset, _ := addrOffset(c.family)
	if c.family == familyIPv4 {
		p.network.set(9, c.protocol)
		p.network.value[0], p.network.known[0] = 4<<4, 0xf0
	} else {
		p.network.set(6, c.protocol)
		p.network.value[0], p.network.known[0] = 6<<4, 0xf0
	}
	if c.addr.IsValid() {
		p.network.set(offset, c.addr.AsSlice()...)
	}
	if c.port != 0 {
		p.transport.set(portOffset, binary.BigEndian.AppendUint16(nil, c.port)...)
	}
	if c.protocol == protocolTCP {
		// A SYN; the two bits of ECN depend on the caller.
		p.transport.value[13], p.transport.known[13] = 2, 0x3f
	}
	return p
}

// registerBytes is the size of all registers of nf_tables.
const registerBytes = 64

// registers are those of nf_tables. What has not been loaded is unknown.
type registers struct {
	value, known [registerBytes]byte
	is           [registerBytes]content
	// One register can hold a number that is unknown, but has known bounds.
	number struct {
		at          int
		first, size uint32 // size 0: there is none
	}
	// Data of a map can be one of several.
	several struct {
		at     int
		values [][]byte
	}
}

// content says which bytes are those of the called port and address, of the caller's port, or
// from the first one on those of the address of a caller on the machine.
type content uint8

const (
	ofPort content = iota + 1
	ofAddr
	ofHere
	ofCallerPort
)

// register returns where a register starts: NFT_REG_1 to 4 have 16 bytes, and
// NFT_REG32_00 to 15 have four.
func register(number uint32) (at int, ok bool) {
	switch {
	case number >= 1 && number <= 4:
		return int(number-1) * 16, true
	case number >= 8 && number < 24:
		return int(number-8) * 4, true
	}
	return 0, false
}

// fits reports whether length bytes from at on are registers.
func fits(at, length int) bool {
	return at >= 0 && length >= 0 && at+length <= registerBytes
}

// store loads bytes. The kernel fills the last 32 bits with zeros.
func (r *registers) store(at int, value, known []byte) {
	for i := range (len(value) + 3) &^ 3 {
		if at+i >= registerBytes {
			break
		}
		r.is[at+i] = 0
		if i < len(value) {
			r.value[at+i], r.known[at+i] = value[i], known[i]
		} else {
			r.value[at+i], r.known[at+i] = 0, 0xff
		}
	}
	r.forget(at, len(value))
}

func (r *registers) storeKnown(at int, value []byte) {
	var known [registerBytes]byte
	for i := range known {
		known[i] = 0xff
	}
	r.store(at, value[:min(len(value), len(known))], known[:min(len(value), len(known))])
}

// storeNumber loads 32 bits in the machine's byte order.
func (r *registers) storeNumber(at int, p partial) {
	var value, known [4]byte
	binary.NativeEndian.PutUint32(value[:], p.value)
	binary.NativeEndian.PutUint32(known[:], p.known)
	r.store(at, value[:], known[:])
}

func (r *registers) storeUnknown(at, length int) {
	var nothing [registerBytes]byte
	length = min(length, registerBytes)
	r.store(at, nothing[:length], nothing[:length])
}

// loadNumber returns 32 bits in the machine's byte order.
func (r *registers) loadNumber(at int) partial {
	return partial{binary.NativeEndian.Uint32(r.value[at:]), binary.NativeEndian.Uint32(r.known[at:])}
}

// forget ends what is known beyond bits.
func (r *registers) forget(at, length int) {
	if n := r.number; n.size > 0 && at < n.at+4 && n.at < at+length {
		r.number.size = 0
	}
	if s := r.several; len(s.values) > 0 && at < s.at+len(s.values[0]) && s.at < at+length {
		r.several.values = nil
	}
}

// selectsPort reports whether any of these bytes is of the called port.
func (r *registers) selectsPort(at, length int) bool {
	for _, c := range r.is[at : at+length] {
		if c == ofPort {
			return true
		}
	}
	return false
}

// holds reports whether these bytes are exactly the called port or address.
func (r *registers) holds(c content, at, length int) bool {
	for i := range length {
		if r.is[at+i] != c {
			return false
		}
	}
	return at+length >= registerBytes || r.is[at+length] != c
}

// addrAt returns the address in registers of a family, if it is known.
func (r *registers) addrAt(at int, family uint8) netip.Addr {
	_, length := addrOffset(family)
	if !fits(at, length) {
		return netip.Addr{}
	}
	for _, k := range r.known[at : at+length] {
		if k != 0xff {
			return netip.Addr{}
		}
	}
	a, _ := netip.AddrFromSlice(r.value[at : at+length]) // the length is right
	return a
}

// portAt returns the port in a register, or 0 if it is unknown.
func (r *registers) portAt(at int) uint16 {
	if !fits(at, 2) || r.known[at] != 0xff || r.known[at+1] != 0xff {
		return 0
	}
	return binary.BigEndian.Uint16(r.value[at:])
}
