// Package check decides whether needs of manifests are met: it probes hosts, and
// derives a verdict on each need from the facts that they return.
package check

import (
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// Status is the verdict on a need.
type Status string

// The statuses.
const (
	Free         Status = "free"
	Owned        Status = "owned" // held, every holder proven to be the owner
	InUse        Status = "in-use"
	Shadowed     Status = "shadowed"   // can be bound beside a listener that would share or steal its traffic
	Redirected   Status = "redirected" // NAT rules send callers elsewhere
	Leased       Status = "leased"     // claimed by another job
	Denied       Status = "denied"     // no right to bind
	Unavailable  Status = "unavailable"
	OSReserved   Status = "os-reserved"
	Listening    Status = "listening"
	Exposed      Status = "exposed" // served, and also outside of the addresses that may serve it
	NotListening Status = "not-listening"
	WrongOwner   Status = "wrong-owner"
	Reachable    Status = "reachable"
	Unreachable  Status = "unreachable"
	Undeclared   Status = "undeclared" // of no need: something listens that no need declares
	Unknown      Status = "unknown"
)

// Statuses lists every status.
var Statuses = []Status{
	Free, Owned, InUse, Shadowed, Redirected, Leased, Denied, Unavailable, OSReserved,
	Listening, Exposed, NotListening, WrongOwner, Reachable, Unreachable, Undeclared, Unknown,
}

// OK reports whether a need with this status is met, unless it expects its remote to
// be unreachable.
func (s Status) OK() bool {
	return s == Free || s == Owned || s == Listening || s == Reachable
}

// Met reports whether the status is what the need expects.
func (r Result) Met() bool {
	if r.Expect == config.Unreachable {
		return r.Status == Unreachable
	}
	return r.Status.OK()
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

// Report is the input of every format. Its JSON form is a contract: lists are
// never null, and what is unknown is left out.
type Report struct {
	Version int    `json:"version"`
	Tool    string `json:"tool"`
	// Generated is when the report was written, in UTC.
	Generated time.Time        `json:"generated,omitzero"`
	OK        bool             `json:"ok"`
	Problems  []config.Problem `json:"problems"`
	Targets   []TargetReport   `json:"targets"`
	Results   []Result         `json:"results"`
	Summary   Summary          `json:"summary"`
	// Spans are the ranges that alternatives may come from.
	Spans []Span `json:"-"`
	// Merged is set on a report that was made from reports of several hosts. Its
	// targets may be other machines than this one, whatever their names.
	Merged bool `json:"-"`
	// Lint is set for a report without probes. Its results have no status.
	Lint bool `json:"-"`
}

// TargetReport is what was probed, and what could not be seen of it.
type TargetReport struct {
	Name      string    `json:"name"`
	Hostname  string    `json:"hostname,omitempty"` // what the machine or container calls itself
	OS        string    `json:"os,omitempty"`
	Namespace Namespace `json:"namespace,omitzero"`
	Ephemeral string    `json:"ephemeral,omitempty"`
	Reserved  string    `json:"reserved,omitempty"` // a port.Set; never ephemeral
	Notices   []Notice  `json:"notices"`
}

// Namespace is the network namespace of a target.
type Namespace struct {
	Kind   string `json:"kind"`
	Inode  uint64 `json:"inode,omitempty"`
	Reason string `json:"reason,omitempty"` // how the kind was determined, or why it was not
	VM     string `json:"vm,omitempty"`     // the program of whose virtual machine it is, "Docker Desktop"
}

// Result is the verdict on one need, target and protocol.
type Result struct {
	ID           string          `json:"id"`
	App          string          `json:"app,omitempty"`
	Name         string          `json:"name"`
	Target       string          `json:"target"`
	Source       config.Position `json:"source"`
	Protocol     port.Protocol   `json:"protocol"`
	Address      []port.Address  `json:"address"`
	Port         uint16          `json:"port"`
	PortLast     uint16          `json:"port_last,omitempty"` // last port of a block
	Auto         bool            `json:"auto,omitempty"`      // the port was chosen from a range; if none was found, it is the range's first
	Expect       config.Expect   `json:"expect"`
	Remote       string          `json:"remote,omitempty"`
	Status       Status          `json:"status,omitempty"`
	Severity     config.Severity `json:"severity"`
	OK           bool            `json:"ok"`
	Method       Method          `json:"method,omitempty"`
	Message      string          `json:"message"`
	Endpoints    []Endpoint      `json:"endpoints,omitzero"`
	Holders      []Holder        `json:"holders"`
	Held         []HeldSocket    `json:"-"`                          // what Holders is made of, until the result is kept
	Complete     *bool           `json:"holders_complete,omitempty"` // false: the search stopped early or could not see all; absent: true
	Alternatives []uint16        `json:"alternatives"`
	Candidates   string          `json:"candidates,omitempty"` // a port.Set of what the need could move to on this target; first ports of a block
	Notices      []Notice        `json:"notices"`
	Redirect     *Redirect       `json:"redirect,omitempty"` // where NAT rules send callers
	Lease        *Lease          `json:"lease,omitempty"`    // by which another job has the port; without its ports
	// Hints are what formats print below the message; the formats make them.
	Hints []Hint `json:"hints,omitzero"`

	// Asked is how many alternatives were wanted, 0 if none apply. From is the
	// ranges for them, empty if the need has none.
	Asked int      `json:"-"`
	From  port.Set `json:"-"`
	// NoSearchReason is why alternatives could not be looked for, a phrase for
	// people; empty if they were.
	NoSearchReason string `json:"-"`
	// TableErrno is the error number for which the socket table could not be
	// read; empty if it was read.
	TableErrno string `json:"-"`
	// LeasesUnknown is set if the port could be bound, and another job may have leased it.
	LeasesUnknown bool `json:"-"`
	// Unlisted is set if the port is held by a socket that the socket table can't
	// show on that system.
	Unlisted bool `json:"-"`
	// ForksUnseen is set if a process that has forked a holder, or was forked by one,
	// could not be examined: it most likely has the socket open, too.
	ForksUnseen bool `json:"-"`
	// Ended is set if a process held the port and has most likely ended since, or keeps the
	// socket without a descriptor: it was there, and no process has it.
	Ended bool `json:"-"`
	// TableOnly is set if nothing could be bound there.
	TableOnly bool `json:"-"`
	// Compose is set if the need is from a Compose file.
	Compose bool `json:"-"`
	// Rivals is the number of other needs that want the port.
	Rivals int `json:"-"`
	// Wait is for how long the need has been retried.
	Wait time.Duration `json:"-"`
	// WaitFlag is set if the flag --wait says how long, or is the one to say it.
	WaitFlag bool `json:"-"`
	// Env is the variable that chooses the port in the need's Compose file, or "".
	Env string `json:"-"`
	// OS is that of the target, and UID the effective uid of the probe there; nil if
	// it is not known.
	OS  string `json:"-"`
	UID *int   `json:"-"`
	// UnprivilegedFrom is the first port of the target that needs no right; nil if it is not
	// known.
	UnprivilegedFrom *int `json:"-"`
	// Confined is set if portcheck runs in a container in which not even root may
	// examine the processes of others.
	Confined bool `json:"-"`
	// Withheld is set if root has no such right where portcheck runs, and what withholds
	// it is not known to be a container.
	Withheld bool `json:"-"`
}

// reason returns the message of a result, or the one of the notice by which it is not met
// although the port itself is as it should be.
func (r *Result) reason() string {
	if !r.OK && r.Met() {
		for _, n := range r.Notices {
			if n.Code.Excludes() {
				return n.Message
			}
		}
	}
	return r.Message
}

// Hint is what a person can do about a result, or may want to know.
type Hint struct {
	Kind    HintKind `json:"kind"`
	Text    string   `json:"text"`              // a sentence, without a full stop
	Command string   `json:"command,omitempty"` // the first command of the text
}

// HintKind is the kind of a hint.
type HintKind string

// The kinds.
const (
	HintRemedy      HintKind = "remedy"
	HintOwner       HintKind = "owner"
	HintAlternative HintKind = "alternative"
	HintNote        HintKind = "note"
)

// Ports returns the result's port or block.
func (r Result) Ports() port.Range { return port.Range{First: r.Port, Last: max(r.Port, r.PortLast)} }

// Endpoint is the outcome of one bind or connect.
type Endpoint struct {
	Address string `json:"address"`
	Port    uint16 `json:"port"`
	Outcome string `json:"outcome"`
	Op      string `json:"op,omitempty"`
	Errno   string `json:"errno,omitempty"`
}

// Holder is a socket in the way, with one process that has it open, if known.
type Holder struct {
	Protocol port.Protocol `json:"protocol,omitempty"` // in `portcheck list` only
	Address  string        `json:"address"`
	Port     uint16        `json:"port"`
	// OwnFile is set if the executable is not the machine's file of that path, but
	// one that only the process sees there. It is here, as Minutes is, because a run
	// may have 260,000 holders: there is room between fields.
	OwnFile bool `json:"-"`
	// Minutes is how long the process has run, 0 if it is not known.
	Minutes    int32      `json:"-"`
	State      string     `json:"state"`
	UID        *int       `json:"uid,omitempty"`
	User       string     `json:"user,omitempty"`
	PID        int        `json:"pid,omitempty"`
	Process    string     `json:"process,omitempty"`
	Executable string     `json:"executable,omitempty"`
	Unit       string     `json:"unit,omitempty"`
	Container  *Container `json:"container,omitempty"`
	Started    *time.Time `json:"started,omitempty"`
	Command    []string   `json:"command,omitempty"` // with --show-command only
	Forwarder  *Forwarder `json:"forwarder,omitempty"`
	Origin     *Origin    `json:"origin,omitempty"`
	Condition
	Kernel bool `json:"kernel,omitempty"` // the kernel itself has the socket
	// Self is set if it is the process of portcheck that has checked.
	Self bool `json:"self,omitempty"`
	// Owner is set for the need's owner where the need is not met all the same, and MayBeOwner
	// where it is not known whether it is the owner.
	Owner      bool `json:"owner,omitempty"`
	MayBeOwner bool `json:"may_be_owner,omitempty"`
	*Listed         // in `portcheck list` only
}

// Condition is what decides how a process can be ended.
type Condition = host.Condition

// HolderJob is the job that started a process, as the process's environment says.
type HolderJob struct {
	Name string `json:"name"`           // as in a lease
	Text string `json:"text"`           // for people: "run 123 of job e2e"
	Own  bool   `json:"own,omitempty"`  // it is the job that portcheck runs in
	Runs bool   `json:"runs,omitempty"` // it still has a lease
}

// Listed is what only a listing has of a holder.
type Listed struct {
	// Device is the interface that a socket on an IPv4 address is bound to: an IPv6
	// address has it in its zone.
	Device string `json:"device,omitempty"`
	// V6Only is set for a socket on [::], if it is known whether it serves IPv4 as well.
	V6Only *bool `json:"v6only,omitempty"`
	// Unseen lists what could not be read of the process: executable, user, unit or
	// container.
	Unseen []string `json:"unseen,omitempty"`
	// Names returns other names of the executable, which an owner's process matches as
	// well. It is nil where Proves is.
	Names func() []string `json:"-"`
	// Proves reports whether the holder is proven to be an owner. It is nil if the row
	// was read from a file.
	Proves func(config.Owner) bool `json:"-"`
}

// listed returns what only a listing has, empty if there is nothing.
func (h Holder) listed() Listed {
	if h.Listed == nil {
		return Listed{}
	}
	return *h.Listed
}

// Forwarder says that a holder holds the port on behalf of another.
type Forwarder struct {
	Name     string `json:"name"`
	For      string `json:"for"`              // containers, units or services
	Engine   string `json:"engine,omitempty"` // of the containers, if only one engine uses it
	LeftOver bool   `json:"left_over,omitempty"`
	// Own is set if nothing but itself needs the port.
	Own bool `json:"own,omitempty"`
}

// Origin says where a process or its socket comes from, as far as that matters to
// whoever wants to end it.
type Origin struct {
	SocketUnit string `json:"socket_unit,omitempty"` // for which systemd holds the socket
	// Device is the interface for which the kernel has the socket, if it is one alone.
	Device string `json:"device,omitempty"`
	// Peer is the other end of a connection that was closed here, and that no process has
	// open: it lasts until the peer acknowledges that.
	Peer string `json:"peer,omitempty"`
	// Master is the PID of the process of which this one is a forked copy: a server
	// replaces a worker that ends.
	Master int `json:"master,omitempty"`
	// MasterUnseen is set if the user that checks can't see the master.
	MasterUnseen bool `json:"master_unseen,omitempty"`
	// LeavesCopies is set if the master does not handle SIGTERM: whatever ends it does not
	// end its copies.
	LeavesCopies bool `json:"leaves_copies,omitempty"`
	// Starter is the PID of the parent, if it executes the same file and this process is
	// no copy of it. It may start another one.
	Starter int `json:"starter,omitempty"`
	// Shell is the parent, if it is a shell that runs a script, which may have a loop that
	// starts the process again.
	Shell    string `json:"shell,omitempty"`
	ShellPID int    `json:"shell_pid,omitempty"`
	// Serves is another endpoint at which the master or the starter serves, if it does not
	// hold this port: what ends it ends that, too.
	Serves string `json:"serves,omitempty"`
	// Condition is that of the master, else of the starter or the shell.
	Condition
	// Supervisor is the parent, if it is a program that starts services again.
	Supervisor    string `json:"supervisor,omitempty"`
	SupervisorPID int    `json:"supervisor_pid,omitempty"`
	// Job is the job that started the process.
	Job *HolderJob `json:"job,omitempty"`
}

// From returns the holder's origin, empty if nothing is known of it.
func (h Holder) From() Origin {
	if h.Origin == nil {
		return Origin{}
	}
	return *h.Origin
}

// Redirect is where a NAT rule sends the callers of a port.
type Redirect struct {
	From    string `json:"from"` // interfaces by which the callers come, or "this machine"
	To      string `json:"to"`
	Rule    string `json:"rule"` // in about the words of nft and iptables
	Comment string `json:"comment,omitempty"`
	Table   string `json:"table"`            // with its family: "ip nat"
	Chain   string `json:"chain"`            // empty if the rule is a virtual service of IPVS
	Legacy  bool   `json:"legacy,omitempty"` // a rule of iptables-legacy
}

// Container is the container of a holder, as far as it is known.
type Container struct {
	ID      string `json:"id"`
	Name    string `json:"name,omitempty"`
	Image   string `json:"image,omitempty"`
	Compose string `json:"compose,omitempty"` // project/service
	Service string `json:"service,omitempty"` // the service of this CI job, if it is one
	Engine  string `json:"engine,omitempty"`  // docker, podman, containerd, cri-o or kubernetes
	// NameOnly is set if no engine described it. MonitorUnit is the unit of its conmon.
	NameOnly    bool   `json:"-"`
	MonitorUnit string `json:"-"`
	Unit        string `json:"unit,omitempty"`   // the systemd unit that starts it, as in Holder.Unit
	Socket      string `json:"socket,omitempty"` // the address of an engine that a user runs without root
}

// Notice is something worth knowing that is not the status.
type Notice struct {
	Code    config.NoticeCode `json:"code"`
	Message string            `json:"message"`
	// Severity is set if the notice is more than a note: on a target that may
	// be another network namespace than the user intended.
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

// Listing is the output of `portcheck list`.
type Listing struct {
	Version int            `json:"version"`
	Targets []TargetReport `json:"targets"`
	Sockets []Holder       `json:"sockets"`
}
