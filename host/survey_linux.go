package host

import (
	"context"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/netlink"
	"github.com/org/portcheck/port"
)

// readDigests returns the digest of each part of a survey, or nil if sock_diag can't be
// used. It keeps no socket, so that a round makes no garbage to collect.
func readDigests(ctx context.Context) []uint64 {
	devices := newDevices()
	all := make([]uint64, SurveyParts)
	for _, q := range surveyQueries() {
		for _, r := range diagRequests(q) {
			err := netlink.Dump(ctx, netlink.SockDiag, r, diagSilence, func(message []byte) error {
				d, ok := digestDiag(message, q.protocol, devices.name)
				if !ok {
					return netlink.ErrBroken
				}
				if d.port != 0 {
					all[PartOf(d.port)] += d.sum()
				}
				return nil
			})
			ipv6 := r.Type == diagByFamily && r.Payload[0] == unix.AF_INET6
			if err != nil && !(ipv6 && errors.Is(err, unix.ENOENT) && !haveIPv6()) {
				return nil
			}
		}
	}
	return all
}

// digestDiag returns what parseDiag and Socket.Digest do together. Its port is 0 for a
// socket that does not listen.
func digestDiag(data []byte, proto port.Protocol, device func(uint32) string) (d socketDigest, ok bool) {
	if len(data) < diagMessageLen {
		return d, false
	}
	if stateOf(proto, data[1]) != Listen {
		return d, true
	}
	switch data[0] {
	case unix.AF_INET:
		d.addr = [16]byte{10: 0xff, 11: 0xff}
		copy(d.addr[12:], data[8:12])
		d.set(0, true)
	case unix.AF_INET6:
		copy(d.addr[:], data[8:24])
		d.set(0, [12]byte(d.addr[:12]) == [12]byte{10: 0xff, 11: 0xff})
	default:
		return d, false
	}
	d.port = binary.BigEndian.Uint16(data[4:])
	d.set(2, proto == port.UDP)
	if index := binary.NativeEndian.Uint32(data[40:]); index != 0 {
		d.device = device(index)
	}
	if d.inode = uint64(binary.NativeEndian.Uint32(data[68:])); d.inode != 0 {
		d.set(4, true)
		d.uid = binary.NativeEndian.Uint32(data[64:])
	}
	for rest := data[diagMessageLen:]; len(rest) >= 4; {
		kind, value, behind, ok := netlink.CutAttribute(rest)
		if !ok {
			return d, false
		}
		if kind == diagAttrV6Only && len(value) > 0 {
			d.set(1, value[0] != 0)
		}
		rest = behind
	}
	return d, true
}
