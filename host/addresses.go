package host

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// parseLocalIPv4 parses the local table of /proc/net/fib_trie. It returns the
// prefixes with addresses that can be bound, most of them of one address. A leaf
// is
//
//	|-- 127.0.0.0
//	   /8 host LOCAL
func parseLocalIPv4(text []byte) ([]netip.Prefix, error) {
	var local []netip.Prefix
	var inLocal, found bool
	var leaf netip.Addr
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		fields := strings.Fields(line)
		switch {
		case strings.HasSuffix(line, ":"): // Main:, Local:, or Id 100:
			inLocal = line == "Local:"
			found = found || inLocal
		case !inLocal || len(fields) < 2:
		case fields[0] == "|--":
			var err error
			if leaf, err = netip.ParseAddr(fields[1]); err != nil || !leaf.Is4() {
				return nil, fmt.Errorf("unexpected address in line %.80q", line)
			}
		case len(fields) == 3 && (fields[2] == "LOCAL" || fields[2] == "BROADCAST"):
			bits, err := strconv.Atoi(strings.TrimPrefix(fields[0], "/"))
			if err != nil || bits < 0 || bits > 32 || !leaf.IsValid() {
				return nil, fmt.Errorf("unexpected prefix in line %.80q", line)
			}
			local = append(local, netip.PrefixFrom(leaf, bits))
		}
	}
	if !found {
		return nil, errors.Join(errors.New("no local table"), lines.Err())
	}
	return local, lines.Err()
}

// ipv6Address is a line of /proc/net/if_inet6.
type ipv6Address struct {
	addr   netip.Addr
	device string
	index  uint64 // of the device
	usable bool   // duplicate address detection has ended, and found none
}

// Flags of include/uapi/linux/if_addr.h.
const (
	addrOptimistic = 0x04
	addrTentative  = 0x40
)

// parseIPv6Addresses parses /proc/net/if_inet6. A line is
//
//	address index prefix-length scope flags device
func parseIPv6Addresses(text []byte) ([]ipv6Address, error) {
	var all []ipv6Address
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		bad := fmt.Errorf("unexpected line %.80q", line)
		if len(fields) != 6 {
			return nil, bad
		}
		raw, err := hex.DecodeString(fields[0])
		if err != nil || len(raw) != 16 {
			return nil, bad
		}
		index, err := strconv.ParseUint(fields[1], 16, 32)
		if err != nil {
			return nil, bad
		}
		flags, err := strconv.ParseUint(fields[4], 16, 32)
		if err != nil {
			return nil, bad
		}
		all = append(all, ipv6Address{
			addr: netip.AddrFrom16([16]byte(raw)), index: index, device: fields[5],
			usable: flags&addrTentative == 0 || flags&addrOptimistic != 0,
		})
	}
	return all, nil
}
