package check

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// Diff is the output of `portcheck diff`.
type Diff struct {
	Version   int          `json:"version"`
	Tool      string       `json:"tool"`
	Generated time.Time    `json:"generated,omitzero"`
	OK        bool         `json:"ok"` // there are no anomalies
	Base      TargetReport `json:"base"`
	Now       TargetReport `json:"now"`
	Warnings  []string     `json:"warnings"` // why the two may not be comparable
	Changes   []Change     `json:"changes"`
	Unknown   []Change     `json:"unknown"` // listeners that may have changed hands
	Summary   DiffSummary  `json:"summary"`
}

// DiffSummary counts listeners.
type DiffSummary struct {
	Anomalies int `json:"anomalies"`
	Explained int `json:"explained"` // changes that would be anomalies
	Other     int `json:"other"`     // changes that are none
	Unknown   int `json:"unknown"`   // not explained
	Same      int `json:"same"`
	Ignored   int `json:"ignored"` // UDP sockets on ephemeral ports
}

// NewDiff compares a listing with the baseline, and takes what x explains for no
// anomaly.
func NewDiff(base, now Listing, x Explanations, o CompareOptions) Diff {
	c := Compare(base, now, o)
	d := Diff{Version: 1, Base: base.Targets[0], Now: now.Targets[0], Warnings: differences(base.Targets[0], now.Targets[0]), Changes: c.Changes, Unknown: c.Unknown}
	d.Summary.Same, d.Summary.Ignored = c.Same, c.Ignored
	x.OS = d.Now.OS
	for i := range d.Changes {
		y := &d.Changes[i]
		x.explain(y)
		switch {
		case y.Anomaly:
			d.Summary.Anomalies++
		case y.ExplainedBy != "" && y.Kind.Anomaly():
			d.Summary.Explained++
		default:
			d.Summary.Other++
		}
	}
	for i := range d.Unknown {
		if x.explain(&d.Unknown[i]); d.Unknown[i].ExplainedBy == "" {
			d.Summary.Unknown++
		}
	}
	d.OK = d.Summary.Anomalies == 0
	return d
}

// differences returns why two listings may be those of different machines.
func differences(base, now TargetReport) []string {
	all := []string{}
	add := func(what, a, b string) {
		if a != "" && b != "" && a != b {
			all = append(all, fmt.Sprintf("the baseline is of %s %q, and it is compared with %s %q", what, clip(a, 64), what, clip(b, 64)))
		}
	}
	add("host", base.Hostname, now.Hostname)
	if unknown := string(host.NamespaceUnknown); base.Namespace.Kind != unknown && now.Namespace.Kind != unknown {
		add("network namespace", base.Namespace.Kind, now.Namespace.Kind)
	}
	add("operating system", base.OS, now.OS)
	return all
}

// Explanations is what is expected to listen.
type Explanations struct {
	Allowed []config.Allowed
	Needs   []config.Port // those without an owner explain nothing
	OS      string        // of the machine
}

// explain takes a change for no anomaly if every holder of the listener now is
// expected there. One that can't be seen is not, unless every holder is.
func (x Explanations) explain(c *Change) {
	if len(c.Holders) == 0 {
		return
	}
	for _, a := range x.Allowed {
		if (a.Ports == nil || a.Ports.Contains(c.Port)) && (a.Protocols == nil || slices.Contains(a.Protocols, c.Protocol)) &&
			(a.Addresses == nil || c.within(a.Addresses, "")) && (a.Owner == (config.Owner{}) || heldBy([]config.Owner{a.Owner}, c.Holders, x.OS)) {
			c.ExplainedBy, c.Anomaly = a.At.String(), false
			return
		}
	}
	for _, p := range x.Needs {
		if len(p.Owner) > 0 && !p.Expect.Connects() && !p.Auto && p.Ports.Contains(c.Port) && slices.Contains(p.Protocols, c.Protocol) &&
			c.within(p.Addresses, p.Device) && heldBy(p.Owner, c.Holders, x.OS) {
			c.ExplainedBy, c.Anomaly = p.At.String(), false
			return
		}
	}
}

// within reports whether each socket of a listener is within one of the addresses, and
// on the device, if that is not empty.
func (c Change) within(addresses []port.Address, device string) bool {
	return !slices.ContainsFunc(c.Holders, func(h Holder) bool {
		s := host.Socket{Endpoint: h.endpoint()}
		return device != "" && s.Device != device || !slices.ContainsFunc(addresses, func(a port.Address) bool { return within(s, a) })
	})
}

// endpoint returns the endpoint of a row of a listing.
func (h Holder) endpoint() port.Endpoint {
	addr, _ := netip.ParseAddr(h.Address)
	x := h.listed()
	return port.Endpoint{Protocol: h.Protocol, Addr: addr.WithZone(""), Port: h.Port, V6Only: x.V6Only != nil && *x.V6Only, Device: cmp.Or(addr.Zone(), x.Device)}
}

// heldBy reports whether every holder is one of the owners. On a host that was asked
// just now that is proven, as for a need. Of a file the text counts.
func heldBy(owners []config.Owner, holders []Holder, os string) bool {
	return !slices.ContainsFunc(holders, func(h Holder) bool {
		return !slices.ContainsFunc(owners, func(o config.Owner) bool { return isHolder(o, h, os) })
	})
}

// isHolder reports whether a row of a listing has an owner as its holder.
func isHolder(o config.Owner, h Holder, os string) bool {
	if proves := h.listed().Proves; proves != nil {
		return proves(o)
	}
	written := host.Holder{
		PID: h.PID, UID: -1, Process: h.Process, Names: []string{h.Process}, Executable: h.Executable, Unit: h.Unit, User: h.User,
		File: host.FileRoots, Vouched: []string{host.FactUnit, host.FactContainer},
	}
	if h.UID != nil && h.User == "" {
		written.User = strconv.Itoa(*h.UID)
	}
	if c := h.Container; c != nil {
		written.Container = c.ID
		written.ContainerInfo = &host.ContainerInfo{Name: c.Name, Image: c.Image, Compose: c.Compose, Service: c.Service}
	}
	socket := host.Socket{}
	if unit := h.From().SocketUnit; unit != "" {
		socket.Units = []string{unit, h.Unit}
	}
	return h.PID > 0 && isOwner(o, written, socket, host.Machine{OS: os}) == proven
}
