//go:build linux

package oracle

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// row is a socket on the port, as shown in /proc/net.
type row struct {
	endpoint
	State string
	Inode uint64
}

var states = map[string]string{
	"01": "ESTABLISHED", "02": "SYN_SENT", "03": "SYN_RECV", "04": "FIN_WAIT1", "05": "FIN_WAIT2",
	"06": "TIME_WAIT", "07": "CLOSE", "08": "CLOSE_WAIT", "09": "LAST_ACK", "0A": "LISTEN", "0B": "CLOSING",
}

// kernelTable returns the sockets on the port in this network namespace.
// /proc/net shows neither V6ONLY nor the device.
func kernelTable() ([]row, error) {
	var all []row
	for _, name := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile("/proc/self/net/" + name)
		if err != nil {
			return nil, err
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		for _, line := range lines[1:] {
			fields := strings.Fields(line)
			addr, port, err := hexAddress(fields[1])
			if err != nil {
				return nil, fmt.Errorf("%s: %q: %w", name, line, err)
			}
			if port != number {
				continue
			}
			inode, err := strconv.ParseUint(fields[9], 10, 64)
			if err != nil {
				return nil, err
			}
			r := row{endpoint{Protocol: strings.TrimSuffix(name, "6"), Addr: addr}, states[fields[3]], inode}
			if r.Protocol == udp && r.State == "CLOSE" {
				r.State = "UNCONN"
			}
			all = append(all, r)
		}
	}
	return all, nil
}

// hexAddress parses "0100007F:1F90". Each group of four bytes is a number in the
// machine's byte order.
func hexAddress(s string) (netip.Addr, uint64, error) {
	text, portText, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(text)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	port, err := strconv.ParseUint(portText, 16, 16)
	if err != nil || !ok {
		return netip.Addr{}, 0, fmt.Errorf("no address: %s", s)
	}
	return addr, port, nil
}

// family returns a process and its descendants.
func family(root int) map[int]bool {
	parents := map[int]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		parents[pid], _ = strconv.Atoi(fields[1]) // the kernel's own number
	}
	members := map[int]bool{root: true}
	for grown := true; grown; {
		grown = false
		for pid, parent := range parents {
			if members[parent] && !members[pid] {
				members[pid], grown = true, true
			}
		}
	}
	return members
}

// inodes returns the inodes of the sockets that processes have open.
func inodes(pids map[int]bool) map[uint64]bool {
	all := map[uint64]bool{}
	for pid := range pids {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // the pattern is right
		for _, link := range links {
			target, err := os.Readlink(link)
			if err != nil {
				continue // closed meanwhile
			}
			if text, ok := strings.CutPrefix(target, "socket:["); ok {
				inode, _ := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 64)
				all[inode] = true
			}
		}
	}
	return all
}

// ipv6Off reports whether no interface of this network namespace has an IPv6
// address.
func ipv6Off() bool {
	text, err := os.ReadFile("/proc/self/net/if_inet6")
	return err != nil || len(text) == 0
}

// holdsAll reports whether a process and its descendants hold all endpoints by
// sockets that are not in old. The sockets have to listen, or for UDP to be
// unconnected. Where IPv6 is off, 0.0.0.0 suffices for a dual-stack endpoint.
func holdsAll(root int, endpoints []endpoint, old []row) (bool, error) {
	table, err := kernelTable()
	if err != nil {
		return false, err
	}
	fresh := slices.DeleteFunc(table, func(r row) bool { return slices.Contains(old, r) })
	off := ipv6Off()
	var needed []uint64
	for _, e := range endpoints {
		i := slices.IndexFunc(fresh, func(r row) bool {
			same := r.Addr == e.Addr || off && r.Addr == netip.IPv4Unspecified() && e.Addr == netip.IPv6Unspecified() && !e.V6Only
			return same && r.Protocol == e.Protocol && (r.State == "LISTEN" || r.State == "UNCONN")
		})
		if i < 0 {
			return false, nil
		}
		needed = append(needed, fresh[i].Inode)
	}
	theirs := inodes(family(root))
	return !slices.ContainsFunc(needed, func(inode uint64) bool { return !theirs[inode] }), nil
}
