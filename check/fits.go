package check

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// fits says what in an answer is not about the question, or can't be true of any
// machine. Who answered may be anybody.
func fits(f host.Facts, req host.Request) error {
	if len(f.Tried) != len(req.Tries) || len(f.Open) != len(req.Scans) || len(f.Dialed) != len(req.Dials) {
		return fmt.Errorf("it has %d, %d and %d parts instead of %d, %d and %d", len(f.Tried), len(f.Open), len(f.Dialed), len(req.Tries), len(req.Scans), len(req.Dials))
	}
	for i, t := range req.Tries {
		if err := fitsTry(f.Tried[i].Attempts, t); err != nil {
			return err
		}
	}
	for i, s := range req.Scans {
		var asked port.Bits
		asked.AddSet(s.Ports)
		if !plausible(f.Open[i], &asked) {
			return fmt.Errorf("it has other ports than %s", s.Ports)
		}
	}
	for i, d := range req.Dials {
		if a := f.Dialed[i]; a.Protocol != port.TCP || a.Port != d.Port || !knownOutcomes[a.Outcome] {
			return fmt.Errorf("it has another connect than the one to %s port %d", d.Host, d.Port)
		}
	}
	return fitsMachine(f)
}

// fitsTry compares what was tried with what was to be: every endpoint of every
// port in order, and 0.0.0.0 after a [::] for which the host has no family.
func fitsTry(attempts []host.Attempt, t host.Try) error {
	rest := attempts
	for n := range (port.Set{t.Ports}).All {
		for _, e := range t.At(n) {
			if len(rest) == 0 || !sameEndpoint(rest[0].Endpoint, e) {
				return fmt.Errorf("it has another endpoint than %s, or none", e)
			}
			first := rest[0]
			rest = rest[1:]
			e.Addr = netip.IPv4Unspecified()
			standsIn := first.Outcome == host.NoFamily && first.Addr.IsUnspecified() && !first.V6Only
			if standsIn && len(rest) > 0 && rest[0].Endpoint == e {
				rest = rest[1:]
			}
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("it has an endpoint that was not asked for, on %s port %d", rest[0].Protocol, rest[0].Port)
	}
	for _, a := range attempts {
		if !knownOutcomes[a.Outcome] {
			return fmt.Errorf("it has the outcome %.40q, which there is not", a.Outcome)
		}
	}
	return nil
}

// sameEndpoint compares two endpoints. A device that was named by its number has
// its name in answers.
func sameEndpoint(got, asked port.Endpoint) bool {
	if _, err := strconv.Atoi(asked.Device); err == nil {
		got.Device = asked.Device
	}
	return got == asked
}

var (
	knownOutcomes = map[host.Outcome]bool{
		host.OK: true, host.InUse: true, host.Denied: true, host.NoAddress: true,
		host.NoFamily: true, host.Excluded: true, host.Failed: true, host.NotTried: true,
	}
	knownStates = map[host.State]bool{host.Listen: true, host.Bound: true, host.Connected: true, host.TimeWait: true, host.Closing: true}
	knownGaps   = map[host.GapKind]bool{"": true, host.GapSockets: true, host.GapHolders: true, host.GapContainers: true, host.GapNamespace: true}
	knownKinds  = map[host.NamespaceKind]bool{"": true, host.NamespaceHost: true, host.NamespaceContainer: true, host.NamespaceUnknown: true}
)

// fitsMachine looks at what is not an answer to one question alone.
func fitsMachine(f host.Facts) error {
	if kind := f.Machine.Namespace.Kind; !knownKinds[kind] {
		return fmt.Errorf("it has the namespace %.40q, which there is not", kind)
	}
	if l := f.Limits; l.Ephemeral.First > l.Ephemeral.Last || !plausible(l.Reserved, nil) || !plausible(l.Excluded[port.TCP], nil) || !plausible(l.Excluded[port.UDP], nil) {
		return errors.New("its limits are not sets of ports")
	}
	for _, g := range f.Gaps {
		if !knownGaps[g.Kind] {
			return fmt.Errorf("it has a gap of kind %.40q, which does not exist", g.Kind)
		}
	}
	for _, s := range f.Sockets {
		if !s.Addr.IsValid() || s.Addr.Zone() != "" || strings.ContainsFunc(s.Device, notInNames) || !knownStates[s.State] {
			return fmt.Errorf("it has a socket that there can't be, on port %d", s.Port)
		}
		for _, h := range s.Holders {
			if h.PID < 1 || h.UID < -1 { // the remedy of kill -1 would end everything
				return fmt.Errorf("it has a process %d of user %d, which there can't be", h.PID, h.UID)
			}
		}
	}
	return nil
}

func notInNames(r rune) bool { return r <= ' ' || r > '~' }

// plausible says whether ports are ranges from first to last, not more than there
// are ports, so that to go over them takes no time, and among those asked for, if
// that is not nil.
func plausible(set port.Set, asked *port.Bits) bool {
	count := 0
	for _, r := range set {
		if count += r.Len(); r.First > r.Last || count > port.MaxPort+1 {
			return false
		}
	}
	return asked == nil || !slices.ContainsFunc(set, func(r port.Range) bool {
		for n := int(r.First); n <= int(r.Last); n++ {
			if !asked.Has(uint16(n)) {
				return true
			}
		}
		return false
	})
}
