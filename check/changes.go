package check

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/org/portcheck/port"
)

// ChangeKind is the kind of a change between two listings.
type ChangeKind string

// The kinds.
const (
	Appeared ChangeKind = "appeared"
	Gone     ChangeKind = "gone"
	// ChangedHands is a listener that is held by another program, unit, container or
	// user. That is known, and not only that it may be.
	ChangedHands ChangeKind = "changed-hands"
	// ExposedMore is a listener on an address where its port was not served before by
	// the same holder.
	ExposedMore ChangeKind = "exposed"
	// Moved is a listener that its holder has moved to an address which reaches no more
	// callers than those of before.
	Moved ChangeKind = "moved"
	// HandsUnknown is a listener that is there as before. Whether its holder is the same
	// could not be determined.
	HandsUnknown ChangeKind = "unknown"
)

// ChangeKinds lists every kind.
var ChangeKinds = []ChangeKind{Appeared, Gone, ChangedHands, ExposedMore, Moved, HandsUnknown}

// Anomaly reports whether such a change is one that nobody announced, unless something
// explains it. A listener that is gone harms nobody.
func (k ChangeKind) Anomaly() bool { return k == Appeared || k == ChangedHands || k == ExposedMore }

// Change is one difference between two listings. Removing the sockets of Before from
// the earlier one and adding those of Holders gives the later one.
type Change struct {
	Kind     ChangeKind    `json:"kind"`
	Protocol port.Protocol `json:"protocol"`
	Address  string        `json:"address"`
	Port     uint16        `json:"port"`
	Holders  []Holder      `json:"holders"`       // now; empty if it is gone
	Before   []Holder      `json:"before"`        // what they take the place of
	Was      []string      `json:"was,omitempty"` // some addresses where the same holder served the port before
	Anomaly  bool          `json:"anomaly"`
	// ExplainedBy is the entry or the need that explains the listener, so that it is no
	// anomaly.
	ExplainedBy string `json:"explained_by,omitempty"`
}

// Comparison is how two listings differ.
type Comparison struct {
	Changes []Change // sorted by protocol, port, address
	Unknown []Change // of the kind HandsUnknown
	Same    int      // listeners without a change
	Ignored int      // UDP sockets on ephemeral ports, of both listings
}

// CompareOptions steer a comparison.
type CompareOptions struct {
	// EphemeralUDP compares UDP sockets on ephemeral ports as well. Most are those of
	// clients, which the socket table does not tell from servers.
	EphemeralUDP bool
}

// mostWas limits Change.Was: each of thousands of addresses could list them all.
const mostWas = 5

// Compare returns how a later listing differs from an earlier one. Another process of
// the same program, unit, container and user is no change.
func Compare(before, now Listing, o CompareOptions) Comparison {
	var c Comparison
	ephemeral := new(port.Bits) // then or now
	for _, t := range slices.Concat(before.Targets, now.Targets) {
		ephemeral.Join(t.EphemeralPorts())
	}
	old, ignored := listenersOf(before, ephemeral, o)
	c.Ignored += ignored
	current, ignored := listenersOf(now, ephemeral, o)
	c.Ignored += ignored
	for key := range old {
		c.compare(old[key], current[key])
	}
	for key := range current {
		if old[key] == nil {
			c.compare(nil, current[key])
		}
	}
	for _, all := range [][]Change{c.Changes, c.Unknown} {
		slices.SortFunc(all, func(a, b Change) int {
			return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), compareAddresses(a.Address, b.Address))
		})
	}
	return c
}

// compareAddresses compares addresses as numbers. Text that is no address comes first.
func compareAddresses(a, b string) int {
	x, _ := netip.ParseAddr(a)
	y, _ := netip.ParseAddr(b)
	return cmp.Or(x.Compare(y), strings.Compare(a, b))
}

// socketKey is a port of one protocol.
type socketKey struct {
	protocol port.Protocol
	port     uint16
}

// listener is all sockets of one protocol, port, address and device, with the
// processes that have them open.
type listener struct {
	address string // with its device
	holders []Holder
	hands   hands
}

// listenersOf returns the listeners of each port, in the order of their first sockets, and
// how many sockets were left out.
func listenersOf(l Listing, ephemeral *port.Bits, o CompareOptions) (all map[socketKey][]*listener, ignored int) {
	all = map[socketKey][]*listener{}
	index := map[socketKey]map[string]*listener{}
	for _, h := range l.Sockets {
		if h.Protocol == port.UDP && ephemeral.Has(h.Port) && !h.Kernel && !o.EphemeralUDP {
			ignored++
			continue
		}
		key := socketKey{h.Protocol, h.Port}
		if index[key] == nil {
			index[key] = map[string]*listener{}
		}
		address := h.Place()
		x := index[key][address]
		if x == nil {
			x = &listener{address: address, hands: newHands()}
			index[key][address] = x
			all[key] = append(all[key], x)
		}
		x.holders = append(x.holders, h)
		x.hands.add(h)
	}
	return all, ignored
}

// Place returns the address of a socket with the device that it is bound to.
func (h Holder) Place() string {
	device := h.listed().Device
	if device == "" || strings.Contains(h.Address, "%") {
		return h.Address
	}
	return h.Address + "%" + device
}

// compare adds the changes of one port.
func (c *Comparison) compare(before, now []*listener) {
	old := map[string]*listener{}
	for _, x := range before {
		old[x.address] = x
	}
	var added []*listener
	for _, x := range now {
		was := old[x.address]
		delete(old, x.address) // so that those remain that are gone
		if was == nil {
			added = append(added, x)
			continue
		}
		var reach reach
		reach.add(was)
		switch relation := x.hands.compare(was.hands); {
		case relation == different:
			c.Changes = append(c.Changes, newChange(ChangedHands, x.holders, was.holders))
		case !reach.covers(x):
			change := newChange(ExposedMore, x.holders, was.holders)
			change.Was = reach.addresses
			c.Changes = append(c.Changes, change)
		case relation == maybe:
			c.Unknown = append(c.Unknown, newChange(HandsUnknown, x.holders, was.holders))
		default:
			c.Same++
		}
	}
	gone := slices.DeleteFunc(slices.Clone(before), func(x *listener) bool { return old[x.address] == nil })
	c.add(added, before, gone)
}

// add adds the changes of listeners on addresses where their port had none, and of
// those that are gone. A listener that is gone is part of the change of the one that
// its holder has now instead, if there is one.
func (c *Comparison) add(added, before, gone []*listener) {
	if len(added) == 0 || len(before) == 0 {
		for _, x := range added {
			c.Changes = append(c.Changes, newChange(Appeared, x.holders, nil))
		}
		for _, x := range gone {
			c.Changes = append(c.Changes, newChange(Gone, nil, x.holders))
		}
		return
	}
	p := newPast(before, gone)
	for _, x := range added {
		kind, relation := Appeared, x.hands.compare(p.hands)
		reach, exact := p.reachOf(x)
		switch {
		case relation == same && exact && reach.covers(x):
			kind = Moved
		case relation != different && !reach.covers(x):
			kind = ExposedMore
		}
		change := newChange(kind, x.holders, nil)
		if kind != Appeared {
			change.Was = reach.addresses
			change.Before = append(change.Before, p.take(x, relation)...)
		}
		c.Changes = append(c.Changes, change)
	}
	for _, x := range gone {
		if !p.taken[x] {
			c.Changes = append(c.Changes, newChange(Gone, nil, x.holders))
		}
	}
}

func newChange(kind ChangeKind, now, before []Holder) Change {
	at := now
	if len(now) == 0 {
		at = before
	}
	return Change{
		Kind: kind, Anomaly: kind.Anomaly(), Protocol: at[0].Protocol, Address: at[0].Place(), Port: at[0].Port,
		Holders: orEmpty(now), Before: orEmpty(before),
	}
}

// orEmpty returns a list that is not nil.
func orEmpty(all []Holder) []Holder {
	if all == nil {
		return []Holder{}
	}
	return all
}

// past is the listeners that a port had before, by their programs: the comparison of
// many addresses with many takes no more steps than there are of both.
type past struct {
	hands  hands // of all together
	reach  reach
	byName map[program]*reach
	gone   []*listener
	goneOf map[program][]*listener
	taken  map[*listener]bool
}

func newPast(before, gone []*listener) *past {
	p := &past{hands: newHands(), byName: map[program]*reach{}, gone: gone, goneOf: map[program][]*listener{}, taken: map[*listener]bool{}}
	for _, x := range before {
		p.hands.join(x.hands)
		p.reach.add(x)
		for _, name := range x.hands.programs {
			if p.byName[name] == nil {
				p.byName[name] = &reach{}
			}
			p.byName[name].add(x)
		}
	}
	for _, x := range gone {
		for _, name := range x.hands.programs {
			p.goneOf[name] = append(p.goneOf[name], x)
		}
	}
	return p
}

// reachOf returns where the holder of a listener served the port before, or where
// anybody did, if that is not known exactly.
func (p *past) reachOf(x *listener) (r *reach, exact bool) {
	if len(x.hands.programs) == 1 && !x.hands.unseen {
		if r := p.byName[x.hands.programs[0]]; r != nil {
			return r, true
		}
	}
	return &p.reach, false
}

// take returns the sockets that are gone and may have been those of the holders of x.
// Each is taken once.
func (p *past) take(x *listener, r relation) []Holder {
	var from []*listener
	if r == same {
		for _, name := range x.hands.programs {
			from = append(from, p.goneOf[name]...)
			delete(p.goneOf, name)
		}
	} else {
		from, p.gone = p.gone, nil
	}
	var all []Holder
	for _, y := range from {
		if !p.taken[y] {
			p.taken[y] = true
			all = append(all, y.holders...)
		}
	}
	return all
}

// reach is a set of addresses.
type reach struct {
	at        map[spot]bool
	addresses []string // the first ones, in their order
}

// spot is an address, or every address of a family, on a device or on all.
type spot struct {
	addr   netip.Addr
	device string
}

func (r *reach) add(x *listener) {
	if r.at == nil {
		r.at = map[spot]bool{}
	}
	for _, p := range x.spots() {
		r.at[p] = true
	}
	if len(r.addresses) < mostWas {
		r.addresses = append(r.addresses, x.address)
	}
}

// covers reports whether everybody who reaches a listener could reach one of the
// addresses before. This machine reaches all of them.
func (r *reach) covers(x *listener) bool {
	for _, p := range x.spots() {
		if p.addr.IsLoopback() && len(r.at) > 0 {
			continue
		}
		every := netip.IPv6Unspecified()
		if p.addr.Is4() {
			every = netip.IPv4Unspecified()
		}
		if !r.at[p] && !r.at[spot{p.addr, ""}] && !r.at[spot{every, p.device}] && !r.at[spot{every, ""}] {
			return false
		}
	}
	return true
}

// spots returns the addresses that a listener serves. A socket on [::] of which it is
// not known whether it serves IPv4 does so, as it is by default.
func (x *listener) spots() []spot {
	text, device, _ := strings.Cut(x.address, "%")
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return []spot{{device: x.address}} // as a name that no other has
	}
	all := []spot{{addr.Unmap(), device}}
	if addr == netip.IPv6Unspecified() && slices.ContainsFunc(x.holders, func(h Holder) bool {
		only := h.listed().V6Only
		return only == nil || !*only
	}) {
		all = append(all, spot{netip.IPv4Unspecified(), device})
	}
	return all
}
