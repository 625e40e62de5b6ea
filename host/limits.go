package host

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/org/portcheck/port"
)

// The kernel's defaults, assumed with a gap where a sysctl can't be read.
var (
	defaultEphemeral        = port.Range{First: 32768, Last: 60999}
	defaultUnprivilegedFrom = 1024
)

// limitsFrom returns the limits of a Linux machine. It reads the sysctls with read.
// For one that can't be read it uses the default, and adds a gap.
func limitsFrom(read func(path string) (string, error)) (Limits, []Gap) {
	limits := Limits{Ephemeral: defaultEphemeral, UnprivilegedFrom: defaultUnprivilegedFrom}
	var gaps []Gap
	load := func(name string, parse func(string) error) {
		path := "/proc/sys/net/ipv4/" + name
		text, err := read(path)
		if err == nil {
			err = parse(strings.TrimSpace(text))
		}
		if err != nil {
			gaps = append(gaps, Gap{
				What: fmt.Sprintf("the kernel's %s can't be read, so its default is assumed", name),
				Op:   "read " + path, Errno: errnoOrText(err),
			})
		}
	}
	load("ip_local_port_range", func(s string) error {
		r, err := parseEphemeral(s)
		if err == nil {
			limits.Ephemeral = r
		}
		return err
	})
	load("ip_local_reserved_ports", func(s string) (err error) {
		limits.Reserved, err = parseReserved(s)
		return err
	})
	load("ip_unprivileged_port_start", func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > port.MaxPort+1 {
			return fmt.Errorf("unexpected text %.80q", s)
		}
		limits.UnprivilegedFrom = n
		return nil
	})
	return limits, gaps
}

// EphemeralPorts returns the ports that the system gives to outgoing connections: reserved
// ones are never given.
func (l Limits) EphemeralPorts() *port.Bits {
	var reserved port.Bits
	reserved.AddSet(l.Reserved)
	ephemeral := new(port.Bits)
	if l.Ephemeral.First > 0 { // else it is not known
		ephemeral.AddSet(port.Set{l.Ephemeral}.Without(reserved.Has))
	}
	return ephemeral
}

// parseEphemeral parses "32768\t60999".
func parseEphemeral(s string) (port.Range, error) {
	fields := strings.Fields(s)
	if len(fields) != 2 {
		return port.Range{}, fmt.Errorf("unexpected text %.80q", s)
	}
	return port.ParseRange(fields[0] + "-" + fields[1])
}

// parseReserved parses "8080,9148-9150", or an empty list.
func parseReserved(s string) (port.Set, error) {
	if s == "" {
		return nil, nil
	}
	var set port.Set
	for part := range strings.SplitSeq(s, ",") {
		if part == "0" {
			continue // the kernel accepts it, but no app can bind it
		}
		r, err := port.ParseRange(strings.TrimPrefix(part, "0-"))
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(part, "0-") {
			r.First = 1
		}
		set = append(set, r)
	}
	return set, nil
}
