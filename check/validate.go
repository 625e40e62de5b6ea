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

// validate returns an error if facts don't answer the request, or can't be true
// of any machine. They may come from a host that can't be trusted.
func validate(f host.Facts, req host.Request) error {
	if len(f.Tried) != len(req.Tries) || len(f.Open) != len(req.Scans) || len(f.Dialed) != len(req.Dials) {
		return fmt.Errorf("it has %d tries, %d scans and %d connects instead of %d, %d and %d", len(f.Tried), len(f.Open), len(f.Dialed), len(req.Tries), len(req.Scans), len(req.Dials))
	}
	for i, t := range req.Tries {
		if err := validateTry(f.Tried[i].Attempts, t); err != nil {
			return err
		}
		if err := validateUnreached(f.Tried[i].Unreached, t.At(t.Ports.First)); err != nil {
			return err
		}
	}
	if err := validateRoutes(f.Tried, req.Tries); err != nil {
		return err
	}
	if err := validateAllocated(f.Allocated, req.Tries); err != nil {
		return err
	}
	for i, s := range req.Scans {
		var requested port.Bits
		requested.AddSet(s.Ports)
		if !plausible(f.Open[i], &requested) {
			return fmt.Errorf("it has open ports outside of %s", s.Ports)
		}
	}
	for i, d := range req.Dials {
		if a := f.Dialed[i]; a.Protocol != port.TCP || a.Port != d.Port || !knownOutcomes[a.Outcome] {
			return fmt.Errorf("it has another connect instead of the one to %s port %d", d.Host, d.Port)
		}
	}
	if err := validateSurvey(f, req); err != nil {
		return err
	}
	if err := validateMachine(f); err != nil {
		return err
	}
	if err := validateTexts(f, req); err != nil {
		return err
	}
	if err := validateLeases(f.Leases); err != nil {
		return err
	}
	if err := validateLeases(f.OwnLeases); err != nil {
		return err
	}
	return validateSockets(f.Sockets, req.MostHolders())
}

// validateSurvey checks the answer to a survey.
func validateSurvey(f host.Facts, req host.Request) error {
	if req.Survey == nil {
		return nil
	}
	if f.Surveyed == nil {
		return errors.New("it does not answer a survey")
	}
	before := -1
	for _, part := range f.Surveyed.Changed {
		if part <= before || part >= host.SurveyParts {
			return fmt.Errorf("it has an impossible part %d of a survey", part)
		}
		before = part
	}
	for _, s := range f.Sockets {
		if _, found := slices.BinarySearch(f.Surveyed.Changed, host.PartOf(s.Port)); !found || s.State != host.Listen || len(s.Holders) > 0 {
			return fmt.Errorf("it has a socket on port %d that is no part of a survey", s.Port)
		}
	}
	return nil
}

// Limits on the texts of an answer, which anybody may have written, in bytes. A probe's
// own are far shorter.
const (
	textOfMachine = 16 << 10
	textOfAttempt = 512
	textOfTry     = 1 << 10
	textOfRoute   = 16 << 10
	textOfHolder  = 1 << 10 // on average
	textOfAll     = 256 << 10

	textOfAllocation = 4 << 10
)

// validateTexts limits how long the texts of an answer are together: the results and
// the facts about all targets are in memory at the same time.
func validateTexts(f host.Facts, req host.Request) error {
	m := f.Machine
	machine := len(m.OS) + len(m.Arch) + len(m.Hostname) + len(m.BootID) + len(m.Namespace.Reason)
	for _, g := range f.Gaps {
		machine += 64 + len(g.What) + len(g.Op) + len(g.Errno)
	}
	if machine > textOfMachine {
		return fmt.Errorf("it has more than %d bytes of text about the machine", textOfMachine)
	}
	if err := validateAttempts(f.Dialed); err != nil {
		return err
	}
	for _, t := range f.Tried {
		if err := validateAttempts(t.Attempts); err != nil {
			return err
		}
		if len(t.NoBindReason) > textOfTry {
			return fmt.Errorf("it has a reason of more than %d bytes", textOfTry)
		}
		for _, x := range t.Routes {
			size := len(x.Reason) + len(x.Rule.Family) + len(x.Rule.Table) + len(x.Rule.Chain) + len(x.Rule.Comment) + len(x.Rule.Text)
			for _, from := range x.From {
				size += len(from)
			}
			for _, to := range x.To {
				size += len(to.Container) + lengthOfInfo(to.ContainerInfo)
			}
			if size > textOfRoute {
				return fmt.Errorf("it has a route of more than %d bytes", textOfRoute)
			}
		}
	}
	most := textOfAll + textOfHolder*req.MostHolders()
	for _, a := range f.Allocated {
		if len(a.Container)+lengthOfInfo(a.ContainerInfo) > textOfAllocation {
			return fmt.Errorf("it has a container with more than %d bytes of text", textOfAllocation)
		}
	}
	for _, s := range f.Sockets {
		most -= len(s.Device) + 64*len(s.DeviceAddrs) + lengthOf(s.Units) + lengthOf(s.KernelDevices)
		for _, h := range s.Holders {
			most -= len(h.Process) + len(h.Executable) + len(h.User) + len(h.Unit) + len(h.Container) + len(h.ParentName) + len(h.MonitorUnit) + len(h.Engine)
			if j := h.Job; j != nil {
				most -= len(j.Named) + len(j.Identity) + len(j.Text)
			}
			most -= lengthOf(h.Command) + lengthOf(h.Unseen) + lengthOf(h.Names) + lengthOf(h.Vouched) + 8*len(h.Parents)
		}
	}
	if most < 0 {
		return errors.New("it has more text about processes than any probe sends")
	}
	return nil
}

func validateAttempts(attempts []host.Attempt) error {
	for _, a := range attempts {
		if len(a.Op)+len(a.Errno) > textOfAttempt {
			return fmt.Errorf("it has an attempt with more than %d bytes of text", textOfAttempt)
		}
	}
	return nil
}

func lengthOfInfo(c *host.ContainerInfo) int {
	if c == nil {
		return 0
	}
	return len(c.Name) + len(c.Image) + len(c.Compose) + len(c.Service) + len(c.Engine) + len(c.Unit) + len(c.Socket)
}

// lengthOf returns about how many bytes words take.
func lengthOf(words []string) int {
	size := 16 * len(words)
	for _, w := range words {
		size += len(w)
	}
	return size
}

// validateTry compares attempts with what was requested: every endpoint of every
// port in order, and 0.0.0.0 after a [::] for which the host has no family.
func validateTry(attempts []host.Attempt, t host.Try) error {
	rest := attempts
	for n := range (port.Set{t.Ports}).All {
		for _, e := range t.At(n) {
			if len(rest) == 0 || !sameEndpoint(rest[0].Endpoint, e) {
				return fmt.Errorf("it lacks the attempt for %s, or has another in its place", e)
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
		return fmt.Errorf("it has an endpoint that was not requested, on %s port %d", rest[0].Protocol, rest[0].Port)
	}
	for _, a := range attempts {
		if !knownOutcomes[a.Outcome] {
			return fmt.Errorf("it has the unknown outcome %.40q", a.Outcome)
		}
	}
	return nil
}

// validateUnreached checks the addresses without callers of a try with these endpoints.
func validateUnreached(unreached []host.Unreached, requested []port.Endpoint) error {
	if len(unreached) > len(requested) {
		return fmt.Errorf("it has %d addresses without callers, and %d were requested", len(unreached), len(requested))
	}
	for _, u := range unreached {
		if !slices.ContainsFunc(requested, func(e port.Endpoint) bool { return e.Addr == u.Addr }) {
			return errors.New("it has an address without callers that was not requested")
		}
	}
	return nil
}

// validateRoutes checks the routes to the ports of tries.
func validateRoutes(tried []host.Tried, tries []host.Try) error {
	const most = 16 // a probe lists fewer
	total := 0
	for i, t := range tried {
		ofPort := map[uint16]int{}
		for _, r := range t.Routes {
			if len(r.From)+len(r.Addrs)+len(r.To) > 0 || r.More || r.Reason != "" || r.Rule != (host.Rule{}) {
				total++
			}
			ofPort[r.Port]++
			switch {
			case !tries[i].Ports.Contains(r.Port):
				return fmt.Errorf("it has a route to port %d, which was not requested", r.Port)
			case total > host.MostRoutes || ofPort[r.Port] > host.MostRoutesOfPort:
				return fmt.Errorf("it has more than %d routes, or more than %d to port %d", host.MostRoutes, host.MostRoutesOfPort, r.Port)
			case len(r.From) > most || len(r.Addrs) > most || len(r.To) > most:
				return fmt.Errorf("it has more than %d callers or destinations in a route to port %d", most, r.Port)
			}
			for _, to := range r.To {
				if to.Addr.Zone()+to.Addrs[0].Zone()+to.Addrs[1].Zone() != "" {
					return fmt.Errorf("it has an impossible destination for callers of port %d", r.Port)
				}
			}
		}
	}
	return nil
}

// validateAllocated checks what engines have allocated of the ports of tries.
func validateAllocated(allocated []host.Allocation, tries []host.Try) error {
	const most = 1024 // an address has one container, or those of one pod
	requested := map[port.Protocol]*port.Bits{}
	for _, t := range tries {
		if requested[t.Protocol] == nil {
			requested[t.Protocol] = new(port.Bits)
		}
		requested[t.Protocol].AddSet(port.Set{t.Ports})
	}
	ofPort := map[socketKey]int{}
	for _, a := range allocated {
		key := socketKey{a.Protocol, a.Port}
		ofPort[key]++
		switch bits := requested[a.Protocol]; {
		case bits == nil || !bits.Has(a.Port):
			return fmt.Errorf("it has an allocation of port %d, which was not requested", a.Port)
		case ofPort[key] > most:
			return fmt.Errorf("it has more than %d allocations of port %d", most, a.Port)
		case !possibleEndpoint(a.Endpoint) || a.Container == "" || a.User < -1:
			return fmt.Errorf("it has an impossible allocation of port %d", a.Port)
		}
	}
	return nil
}

// possibleEndpoint reports whether a socket can have the address and device of an endpoint.
func possibleEndpoint(e port.Endpoint) bool {
	return e.Addr.IsValid() && e.Addr.Zone() == "" && !strings.ContainsFunc(e.Device, invalidInNames)
}

// sameEndpoint reports whether an answer is about the requested endpoint. A device
// that was requested by its number has its name in the answer.
func sameEndpoint(got, want port.Endpoint) bool {
	if _, err := strconv.Atoi(want.Device); err == nil {
		got.Device = want.Device
	}
	return got == want
}

var (
	knownOutcomes = map[host.Outcome]bool{
		host.OK: true, host.InUse: true, host.Denied: true, host.NoAddress: true,
		host.NoFamily: true, host.Excluded: true, host.Failed: true, host.NotTried: true,
	}
	knownStates = map[host.State]bool{host.Listen: true, host.Bound: true, host.Connected: true, host.TimeWait: true, host.Closing: true}
	knownGaps   = map[host.GapKind]bool{"": true, host.GapSockets: true, host.GapLeases: true, host.GapHolders: true, host.GapContainers: true, host.GapRules: true, host.GapAllocated: true, host.GapNamespace: true}
	knownKinds  = map[host.NamespaceKind]bool{"": true, host.NamespaceHost: true, host.NamespaceContainer: true, host.NamespaceUnknown: true}
)

// validateMachine checks what is about the machine as a whole.
func validateMachine(f host.Facts) error {
	if kind := f.Machine.Namespace.Kind; !knownKinds[kind] {
		return fmt.Errorf("it has the unknown kind of namespace %.40q", kind)
	}
	if l := f.Limits; l.Ephemeral.First > l.Ephemeral.Last || !plausible(l.Reserved, nil) || !plausible(l.Excluded[port.TCP], nil) || !plausible(l.Excluded[port.UDP], nil) {
		return errors.New("its limits are not sets of ports")
	}
	for _, g := range f.Gaps {
		if !knownGaps[g.Kind] {
			return fmt.Errorf("it has the unknown kind of gap %.40q", g.Kind)
		}
	}
	return nil
}

// validateSockets checks the socket table. most is about how many holders were asked
// for.
func validateSockets(sockets []host.Socket, most int) error {
	holders := 0
	for _, s := range sockets {
		if !possibleEndpoint(s.Endpoint) || s.Peer.Addr().Zone() != "" || !knownStates[s.State] {
			return fmt.Errorf("it has an impossible socket on port %d", s.Port)
		}
		if holders += len(s.Holders); holders > most+len(sockets) {
			return fmt.Errorf("it has more than %d holders, the limit of the request", most+len(sockets))
		}
		for _, h := range s.Holders {
			if h.PID < 1 || h.UID < -1 { // kill -1 as a remedy would end everything
				return fmt.Errorf("it has an impossible holder: process %d of user %d", h.PID, h.UID)
			}
		}
	}
	return nil
}

func invalidInNames(r rune) bool { return r <= ' ' || r > '~' }

// plausible reports whether no range of set ends before it starts, and they have at most
// 65,536 ports together, so that iterating over them is cheap. If within is not nil, it
// has to have them all.
func plausible(set port.Set, within *port.Bits) bool {
	count := 0
	for _, r := range set {
		if count += r.Len(); r.First > r.Last || count > port.MaxPort+1 {
			return false
		}
	}
	return within == nil || !slices.ContainsFunc(set, func(r port.Range) bool {
		for n := int(r.First); n <= int(r.Last); n++ {
			if !within.Has(uint16(n)) {
				return true
			}
		}
		return false
	})
}
