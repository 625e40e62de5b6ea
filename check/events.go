package check

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/org/portcheck/port"
)

// EventKind is the kind of an event.
type EventKind string

// The kinds.
const (
	Taken   EventKind = "taken"   // something listens where nothing did
	Freed   EventKind = "freed"   // nothing listens any more
	Changed EventKind = "changed" // another program, unit, container or user listens than before
	Unmet   EventKind = "unmet"   // a need is not met, for the first time or not any more
	Met     EventKind = "met"     // a need is met, for the first time or again
)

// EventKinds lists every kind.
var EventKinds = []EventKind{Taken, Freed, Changed, Unmet, Met}

// Event is a change that `portcheck watch` has seen. Its JSON form is a contract.
type Event struct {
	Version  int           `json:"version"`
	Time     time.Time     `json:"time"`
	Target   string        `json:"target"`
	Event    EventKind     `json:"event"`
	Protocol port.Protocol `json:"protocol"`
	// Address is where a socket listens, or the addresses of a need with commas between
	// them, or the remote of a need that connects.
	Address string `json:"address"`
	Port    uint16 `json:"port"`
	// Need is the ID of the need that is met or not met, or of the first one that
	// declares the port.
	Need    string   `json:"need,omitempty"`
	Holders []Holder `json:"holders"` // now
	Before  []Holder `json:"before"`  // those of before

	// Message is that of the result, for a need.
	Message string `json:"-"`
}

// OfNeed reports whether the event is about a need, and not about a listener.
func (e Event) OfNeed() bool { return e.Event == Met || e.Event == Unmet }

// sortEvents sorts the events of one round: by protocol, port and address, what was
// freed on a port first.
func sortEvents(events []Event) {
	slices.SortStableFunc(events, func(a, b Event) int {
		x, _ := netip.ParseAddr(a.Address)
		y, _ := netip.ParseAddr(b.Address)
		freed := func(e Event) int {
			if e.Event == Freed {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), cmp.Compare(freed(a), freed(b)), x.Compare(y))
	})
}
