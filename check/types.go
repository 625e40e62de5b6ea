// Package check reaches the verdict: it asks hosts, in rounds, about the needs
// of manifests and judges the facts that come back.
package check

import (
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// Status is the verdict on a need.
type Status string

// The statuses.
const (
	Free         Status = "free"
	Owned        Status = "owned" // held, every holder proven to be the owner
	InUse        Status = "in-use"
	Shadowed     Status = "shadowed" // bindable beside a listener that would share or steal its traffic
	Leased       Status = "leased"   // claimed by another job
	Denied       Status = "denied"   // no right to bind
	Unavailable  Status = "unavailable"
	OSReserved   Status = "os-reserved"
	Listening    Status = "listening"
	NotListening Status = "not-listening"
	WrongOwner   Status = "wrong-owner"
	Reachable    Status = "reachable"
	Unreachable  Status = "unreachable"
	Unknown      Status = "unknown"
)

// Statuses lists every status.
var Statuses = []Status{
	Free, Owned, InUse, Shadowed, Leased, Denied, Unavailable, OSReserved,
	Listening, NotListening, WrongOwner, Reachable, Unreachable, Unknown,
}

// OK says whether a need with this status is met.
func (s Status) OK() bool {
	return s == Free || s == Owned || s == Listening || s == Reachable
}

// Method is how a verdict was reached.
type Method string

// The methods.
const (
	BindTable Method = "bind+table"
	Bind      Method = "bind"
	Table     Method = "table"
	Connect   Method = "connect"
	None      Method = "none"
)

// Report is all that a format may use. Its JSON form is a contract: lists are
// never null, what is unknown is left out.
type Report struct {
	Version  int              `json:"version"`
	Tool     string           `json:"tool"`
	OK       bool             `json:"ok"`
	Problems []config.Problem `json:"problems"`
	Targets  []TargetReport   `json:"targets"`
	Results  []Result         `json:"results"`
	Summary  Summary          `json:"summary"`
	// Spans are the ranges that alternatives may come from.
	Spans []Span `json:"-"`
	// Lint marks a report without probes; such results have no status.
	Lint bool `json:"-"`
}

// TargetReport says what was probed and how far it could be seen.
type TargetReport struct {
	Name      string    `json:"name"`
	OS        string    `json:"os,omitempty"`
	Namespace Namespace `json:"namespace,omitzero"`
	Ephemeral string    `json:"ephemeral,omitempty"`
	Notices   []Notice  `json:"notices"`
}

// Namespace is the network namespace of a target.
type Namespace struct {
	Kind   string `json:"kind"`
	Inode  uint64 `json:"inode,omitempty"`
	Reason string `json:"reason,omitempty"` // how the kind is known, or why it is not
}

// Result is the verdict on one need, target and protocol.
type Result struct {
	ID           string          `json:"id"`
	Name         string          `json:"name"`
	Target       string          `json:"target"`
	Source       config.Position `json:"source"`
	Protocol     port.Protocol   `json:"protocol"`
	Address      []port.Address  `json:"address"`
	Port         uint16          `json:"port"`
	PortLast     uint16          `json:"port_last,omitempty"` // last port of a block
	Expect       config.Expect   `json:"expect"`
	Remote       string          `json:"remote,omitempty"`
	Status       Status          `json:"status,omitempty"`
	Severity     config.Severity `json:"severity"`
	OK           bool            `json:"ok"`
	Method       Method          `json:"method,omitempty"`
	Message      string          `json:"message"`
	Endpoints    []Endpoint      `json:"endpoints,omitzero"`
	Holders      []Holder        `json:"holders"`
	Complete     *bool           `json:"holders_complete,omitempty"` // false: the search stopped early or could not see all; absent: true
	Alternatives []uint16        `json:"alternatives"`
	Candidates   string          `json:"candidates,omitempty"` // a port.Set of where the need could move on this target, first ports of a block
	Notices      []Notice        `json:"notices"`

	// Asked is how many alternatives were wanted (0: none apply), From the
	// ranges that they had to come from (empty: the manifest gives none).
	Asked int      `json:"-"`
	From  port.Set `json:"-"`
	// NoSearchReason says why no alternative could be looked for, for people. It
	// is empty if they were.
	NoSearchReason string `json:"-"`
	// TableOnly: nothing could be bound there.
	TableOnly bool `json:"-"`
}

// Ports is the result's port or block.
func (r Result) Ports() port.Range { return port.Range{First: r.Port, Last: max(r.Port, r.PortLast)} }

// Endpoint is what one bind or connect answered.
type Endpoint struct {
	Address string `json:"address"`
	Port    uint16 `json:"port"`
	Outcome string `json:"outcome"`
	Op      string `json:"op,omitempty"`
	Errno   string `json:"errno,omitempty"`
}

// Holder is a socket in the way, with one process that has it open if known.
type Holder struct {
	Protocol   port.Protocol `json:"protocol,omitempty"` // in `portcheck list` only
	Address    string        `json:"address"`
	Port       uint16        `json:"port"`
	State      string        `json:"state"`
	UID        *int          `json:"uid,omitempty"`
	User       string        `json:"user,omitempty"`
	PID        int           `json:"pid,omitempty"`
	Process    string        `json:"process,omitempty"`
	Executable string        `json:"executable,omitempty"`
	Unit       string        `json:"unit,omitempty"`
	Container  *Container    `json:"container,omitempty"`
	Started    *time.Time    `json:"started,omitempty"`
	Command    []string      `json:"command,omitempty"` // with --show-command only
}

// Container is the container of a holder, as far as it is known.
type Container struct {
	ID      string `json:"id"`
	Name    string `json:"name,omitempty"`
	Image   string `json:"image,omitempty"`
	Compose string `json:"compose,omitempty"` // project/service
	Service string `json:"service,omitempty"` // name of the CI job's own service that it is
}

// Notice is something worth knowing that is not the status.
type Notice struct {
	Code    config.NoticeCode `json:"code"`
	Message string            `json:"message"`
	// Severity is set where a notice is more than a note: on a target, if its
	// ports may not be those that people mean.
	Severity config.Severity `json:"severity,omitempty"`
}

// Summary counts results. Errors and Warnings count unmet ones by severity;
// Unknown counts those with status unknown, which are in neither.
type Summary struct {
	Checked  int `json:"checked"`
	OK       int `json:"ok"`
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
	Unknown  int `json:"unknown"`
}

// Listing is the answer of `portcheck list`.
type Listing struct {
	Version int            `json:"version"`
	Targets []TargetReport `json:"targets"`
	Sockets []Holder       `json:"sockets"`
}
