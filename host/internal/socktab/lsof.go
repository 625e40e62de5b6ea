package socktab

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/org/portcheck/port"
)

// LsofArgs are the arguments with which lsof prints what ParseLsof reads. The output
// for programs (-F) has one field a line. The columns of the output for people are
// separated by blanks, some are empty, and a descriptor above 9999 loses its first
// digits.
var LsofArgs = []string{"-n", "-P", "-w", "-i", "tcp", "-i", "udp", "-F", "pftPnT"}

// ParseLsof parses the output of lsof. Sockets without a port are left out. If a socket
// can't be parsed, the others are returned together with an error.
//
// Source: lsof(8), "OUTPUT FOR OTHER PROGRAMS": a process begins with its PID (p), a
// file with its descriptor (f). print_tcptpi of lsof prints the state as TST=.
func ParseLsof(output string) (all []Socket, err error) {
	var pid int
	var file map[byte]string
	flush := func() {
		s, ok, bad := lsofSocket(file)
		file = nil
		switch {
		case bad != nil:
			err = errors.Join(err, fmt.Errorf("process %d: %w", pid, bad))
		case ok:
			s.PIDs = []int{pid}
			all = append(all, s)
		}
	}
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		field, value := line[0], line[1:]
		switch {
		case field == 'p':
			flush()
			pid, err = lsofPID(value, err)
		case field == 'f':
			flush()
			file = map[byte]string{}
		case pid <= 0:
			return nil, fmt.Errorf("%.40q is not the output of lsof -F", line)
		case file == nil: // a field of the process
		case field == 'T':
			if state, ok := strings.CutPrefix(value, "ST="); ok {
				file[field] = state
			}
		default:
			file[field] = value
		}
	}
	flush()
	return all, err
}

func lsofPID(value string, before error) (int, error) {
	pid, err := strconv.Atoi(value)
	if err != nil || pid <= 0 {
		return 0, errors.Join(before, fmt.Errorf("%.40q is not a PID", value))
	}
	return pid, before
}

// lsofSocket returns the socket that the fields of a file describe. ok is false if it
// is none, or has no port.
func lsofSocket(file map[byte]string) (s Socket, ok bool, err error) {
	v6 := file['t'] == "IPv6"
	if !v6 && file['t'] != "IPv4" {
		return Socket{}, false, nil
	}
	switch file['P'] {
	case "TCP":
		s.Protocol, s.Status = port.TCP, file['T']
	case "UDP":
		s.Protocol = port.UDP
	default:
		return Socket{}, false, nil
	}
	name := file['n']
	// A socket that was closed while lsof looked at it: process_socket of dsock.c for
	// FreeBSD.
	if name == "" || strings.HasPrefix(name, "no PCB") || strings.HasPrefix(name, "can't read in") {
		return Socket{}, false, nil
	}
	local, remote, connected := strings.Cut(name, "->")
	cut := strings.LastIndexByte(local, ':')
	if cut >= 0 && local[cut+1:] == "*" {
		return Socket{}, false, nil
	}
	addr, n, err := addrAndPort(local, cut, v6)
	if err != nil {
		return Socket{}, false, err
	}
	s.Port = n
	s.Addr, s.Device = unscope(addr)
	if connected {
		addr, n, err := addrAndPort(remote, strings.LastIndexByte(remote, ':'), v6)
		if err != nil {
			return Socket{}, false, err
		}
		s.Remote = netip.AddrPortFrom(addr.WithZone(""), n)
	}
	if s.Protocol == port.TCP && s.Status == "" {
		return Socket{}, false, fmt.Errorf("%.80q has no TCP state", name)
	}
	return s, true, nil
}

// addrAndPort parses an address and a port with a separator at cut. A star is every
// address of the family.
func addrAndPort(text string, cut int, v6 bool) (netip.Addr, uint16, error) {
	if cut < 0 {
		return netip.Addr{}, 0, fmt.Errorf("%.80q is not an address with a port", text)
	}
	n, err := strconv.ParseUint(text[cut+1:], 10, 16)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("%.80q is not an address with a port", text)
	}
	host := text[:cut]
	if host == "*" {
		if v6 {
			return netip.IPv6Unspecified(), uint16(n), nil
		}
		return netip.IPv4Unspecified(), uint16(n), nil
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("%.80q is not an address with a port", text)
	}
	return addr.Unmap(), uint16(n), nil
}
