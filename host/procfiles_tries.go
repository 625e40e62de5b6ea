package host

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/org/portcheck/port"
)

// nameZones replaces numeric zones in the addresses of the Tries by the names of
// the devices.
func (p *procProbe) nameZones() {
	p.req.Tries = slices.Clone(p.req.Tries)
	for i := range p.req.Tries {
		addresses := slices.Clone(p.req.Tries[i].Addresses)
		for k, a := range addresses {
			addresses[k] = p.nameZone(a)
		}
		p.req.Tries[i].Addresses = addresses
	}
}

func (p *procProbe) nameZone(a port.Address) port.Address {
	addr, zone, _ := strings.Cut(string(a), "%")
	index, err := strconv.ParseUint(zone, 10, 32)
	if err != nil {
		return a
	}
	for _, known := range p.ipv6 {
		if known.index == index {
			return port.Address(addr + "%" + known.device)
		}
	}
	return a
}

// answerTries answers the Tries: which addresses can't be bound, and which
// sockets the table shows there.
func (p *procProbe) answerTries() {
	p.seen = make([][]Socket, len(p.req.Tries))
	for i, t := range p.req.Tries {
		attempts := p.untried(t)
		p.facts.Tried[i] = Tried{Attempts: attempts, UID: p.uidOf(t.RunAs), NoBindReason: p.files.reason}
		for _, a := range attempts {
			p.seen[i] = append(p.seen[i], p.socketsAt(a.Endpoint)...)
		}
	}
}

// untried returns one attempt for each endpoint of each port, as Tried has them.
// The result for an address is the same at every port.
func (p *procProbe) untried(t Try) []Attempt {
	var model []Attempt
	for _, e := range t.At(t.Ports.First) {
		a := Attempt{Endpoint: e, Outcome: NotTried}
		if !t.Look {
			a.Outcome, a.Op, a.Errno = p.bindFailure(e)
		}
		model = append(model, a)
		if a.Outcome == NoFamily && e.Addr.IsUnspecified() && !e.V6Only {
			e.Addr = ipv4Unspecified
			model = append(model, Attempt{Endpoint: e, Outcome: NotTried})
		}
	}
	var all []Attempt
	for n := int(t.Ports.First); n <= int(t.Ports.Last); n++ {
		for _, a := range model {
			a.Port = uint16(n)
			all = append(all, a)
		}
	}
	return all
}

// bindFailure returns NoFamily or NoAddress if the machine does not have the
// address of an endpoint, Failed if that can't be read, and otherwise NotTried.
func (p *procProbe) bindFailure(e port.Endpoint) (outcome Outcome, op, errno string) {
	path, sysctl := fibTriePath, nonlocalPath(e.Addr)
	if e.Addr.Is6() {
		path = ifInet6Path
	}
	op = "read " + path
	switch {
	case e.Addr.Is6() && !p.facts.Machine.IPv6:
		return NoFamily, op, "ENOENT"
	case e.Addr.IsUnspecified(), e.Addr.Is4() && e.Addr.IsLoopback():
		return NotTried, "", ""
	}
	switch here, err := p.hasAddress(e); {
	case err != nil:
		return Failed, op, errnoOrText(err)
	case here:
		return NotTried, "", ""
	}
	switch text, err := p.sysctl(sysctl); {
	case errors.Is(err, fs.ErrNotExist), err == nil && strings.TrimSpace(text) == "0":
		return NoAddress, op, ""
	case err != nil:
		return Failed, "read " + sysctl, errnoOrText(err)
	}
	return NotTried, "", "" // the machine allows binding to any address
}

// nonlocalPath is that of the sysctl that allows binding to addresses of other hosts.
func nonlocalPath(addr netip.Addr) string {
	if addr.Is6() {
		return "/proc/sys/net/ipv6/ip_nonlocal_bind"
	}
	return "/proc/sys/net/ipv4/ip_nonlocal_bind"
}

// hasAddress reports whether the machine has the address of an endpoint.
func (p *procProbe) hasAddress(e port.Endpoint) (bool, error) {
	if e.Addr.Is4() {
		local, err := p.localIPv4()
		return slices.ContainsFunc(local, func(l netip.Prefix) bool { return l.Contains(e.Addr) }), err
	}
	return slices.ContainsFunc(p.ipv6, func(a ipv6Address) bool {
		return a.usable && a.addr == e.Addr && (e.Device == "" || a.device == e.Device)
	}), p.ipv6Err
}

// socketsAt returns the sockets that overlap an endpoint. If there is one that
// holds the port for good, the connections are left out.
func (p *procProbe) socketsAt(e port.Endpoint) []Socket {
	var all []Socket
	for i := range p.table.indexes(e.Port) {
		if s := p.table.sockets[i]; s.Protocol == e.Protocol && s.Overlaps(e) {
			all = append(all, s)
		}
	}
	if slices.ContainsFunc(all, holdsForGood) {
		return slices.DeleteFunc(all, func(s Socket) bool { return !holdsForGood(s) })
	}
	return all
}

// uidOf returns the uid of the user that an app runs as, or -1 if only the
// machine's user database has it.
func (p *procProbe) uidOf(user string) int {
	if user == "root" {
		return 0
	}
	n, err := strconv.ParseUint(user, 10, 31)
	switch {
	case user == "":
		return p.facts.Machine.UID
	case err != nil:
		return -1
	}
	return int(n)
}

// notDialed returns the attempt for a Dial, which can't be made on that machine.
func (p *procProbe) notDialed(d Dial) Attempt {
	a := Attempt{Endpoint: port.Endpoint{Protocol: port.TCP, Port: d.Port}, Outcome: NotTried, Op: "connect", Errno: p.files.reason}
	a.Addr, _ = netip.ParseAddr(d.Host) // the zero Addr for a name
	return a
}
