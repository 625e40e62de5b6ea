// Package host finds out which endpoints can be bound on one machine, what its
// socket table holds, and which processes hold those sockets.
package host

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/org/portcheck/port"
)

// MostEndpoints is how many endpoints the Tries of one Request may have: as many as
// there are ports. In an answer each takes up to 170 bytes, and a reply has at most
// 16 MiB.
const MostEndpoints = 1 << 16

// MostHolders is about how many holders the Sockets of one answer may have together:
// each socket may have one more.
const MostHolders = 1 << 14

// Host is one machine, or one network namespace of it. It is opened once and
// probed any number of times.
type Host interface {
	// Probe answers one batch. It changes nothing and may be repeated. It
	// returns an error if nothing could be found out; what else could not be
	// seen is in Facts.Gaps.
	Probe(ctx context.Context, req Request) (Facts, error)
	// Close removes everything of ours from the machine.
	Close() error
}

// Request is one batch of questions.
type Request struct {
	Tries []Try  `json:"tries,omitempty"`
	Scans []Scan `json:"scans,omitempty"`
	Dials []Dial `json:"dials,omitempty"`
	// DialBudget is how long the connects may take together, 0 for any time.
	// Those that are not made by then are not tried, so that the answer to
	// everything else is not late.
	DialBudget  time.Duration `json:"dial_budget,omitempty"`
	Listeners   bool          `json:"listeners,omitempty"`    // every listening or bound UDP socket, with all holders
	ShowCommand bool          `json:"show_command,omitempty"` // fill Holder.Command, which may hold secrets
	// Scanned is true if a Scan, just before, has found the ports of all Tries open. TCP
	// sockets that are bound and do not listen are not looked for again.
	Scanned bool `json:"scanned,omitempty"`
	// Job is the job that asks: ports that it has leased are bound as free ones are.
	Job string `json:"job,omitempty"`
	// Held are ports that Job is known to have leased: their keepers are not asked.
	Held []LeasePort `json:"held,omitempty"`
	// OwnLeases asks for all leases of Job.
	OwnLeases bool `json:"own_leases,omitempty"`
	// OwnLeasesIfTaken asks for them if a port that was bound is in use.
	OwnLeasesIfTaken bool `json:"own_leases_if_taken,omitempty"`
	// LeaseBudget is how long keepers of leases may take to answer, 0 for the default.
	LeaseBudget time.Duration `json:"lease_budget,omitempty"`
	// Survey asks which sockets listen. A request with it has no other question, and its
	// answer nothing about the machine.
	Survey *Survey `json:"survey,omitempty"`
	// Holders is about how many holders the answer may have, 0 for MostHolders.
	Holders int `json:"holders,omitempty"`
}

// MostHolders returns about how many holders the answer may have.
func (r Request) MostHolders() int {
	if r.Holders <= 0 || r.Holders > MostHolders {
		return MostHolders
	}
	return r.Holders
}

// Validate returns an error for a request that would take more memory than a probe
// may use. No run of portcheck makes one.
func (r Request) Validate() error {
	endpoints := 0
	for _, t := range r.Tries {
		if t.Ports.First > t.Ports.Last {
			return fmt.Errorf("the request has the range %s, which ends before it starts", t.Ports)
		}
		if endpoints += t.Ports.Len() * len(t.At(t.Ports.First)); endpoints > MostEndpoints {
			return fmt.Errorf("the request has more than %d endpoints", MostEndpoints)
		}
	}
	return nil
}

// Try asks whether an app could open a binding at every port of Ports, now.
type Try struct {
	port.Binding
	Ports  port.Range `json:"ports"`
	RunAs  string     `json:"run_as,omitempty"` // user name or numeric uid; empty for the user of the probe
	Look   bool       `json:"look,omitempty"`   // read the table only, never bind
	Owners bool       `json:"owners,omitempty"` // every holder matters: examine every process
	// Callers asks where the callers of the ports end. Ports at which a bind fails are
	// left out, unless Owners is set.
	Callers bool `json:"callers,omitempty"`
}

// Scan asks which ports of Ports no visible socket holds, for a binding.
type Scan struct {
	port.Binding
	Ports port.Set `json:"ports"`
}

// Dial asks whether a TCP connect to Host (name or IP) and Port succeeds.
type Dial struct {
	Host string `json:"host"`
	Port uint16 `json:"port"`
	// Timeout is how long the connect may take, 0 for the default.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// Facts answers a Request.
type Facts struct {
	Machine Machine    `json:"machine"`
	Limits  Limits     `json:"limits"`
	Tried   []Tried    `json:"tried"`  // Tried[i] answers Tries[i]
	Open    []port.Set `json:"open"`   // Open[i] is Scans[i] less visible sockets and reservations; not yet bound
	Dialed  []Attempt  `json:"dialed"` // Dialed[i] answers Dials[i]
	// Allocated lists the ports that a container engine has given to its containers
	// there, whether or not a socket has them.
	Allocated []Allocation `json:"allocated,omitempty"`
	// Leases are the leases of ports of the tries. Ports of other jobs were not bound.
	// LeaseTime is how long it took to ask for them.
	Leases    []Lease       `json:"leases,omitempty"`
	LeaseTime time.Duration `json:"lease_time,omitempty"`
	// OwnLeases are the leases of the request's Job, if OwnListed is true.
	OwnLeases []Lease   `json:"own_leases,omitempty"`
	OwnListed bool      `json:"own_listed,omitempty"`
	Sockets   []Socket  `json:"sockets"` // whatever overlaps a Try (connections only where they matter); all listeners for Listeners
	Gaps      []Gap     `json:"gaps"`
	Surveyed  *Surveyed `json:"surveyed,omitempty"` // answers Survey
}

// Machine describes the machine that was probed.
type Machine struct {
	OS        string    `json:"os"`   // GOOS
	Arch      string    `json:"arch"` // GOARCH
	Namespace Namespace `json:"namespace"`
	Hostname  string    `json:"hostname,omitempty"`
	BootID    string    `json:"boot_id,omitempty"`
	UID       int       `json:"uid"`      // effective uid of the probe; -1 if unknown, or if the OS has none
	Elevated  bool      `json:"elevated"` // the probe itself may bind privileged ports
	// Confined is true if the probe sees the processes of the machine from a container
	// without CAP_SYS_PTRACE, so that not even root may examine those of others.
	Confined bool `json:"confined,omitempty"`
	// Withheld is true if the probe sees the processes of the machine, and not even root
	// has the capabilities there to examine those of others, whatever withholds them.
	Withheld bool `json:"withheld,omitempty"`
	IPv6     bool `json:"ipv6"` // an AF_INET6 socket can be made
}

// NamespaceKind is the kind of network namespace that was probed.
type NamespaceKind string

// The kinds. NamespaceHost is reported only with proof.
const (
	NamespaceHost      NamespaceKind = "host"
	NamespaceContainer NamespaceKind = "container"
	NamespaceUnknown   NamespaceKind = "unknown"
)

// Namespace is the network namespace that was probed.
type Namespace struct {
	Kind  NamespaceKind `json:"kind"`
	Inode uint64        `json:"inode,omitempty"` // of /proc/self/ns/net; 0 where the OS has none
	// Reason is how the kind is known, or why it is unknown: a phrase for people.
	Reason string `json:"reason,omitempty"`
	// AllProcesses is true if /proc shows the processes of the whole machine.
	AllProcesses bool `json:"all_processes,omitempty"`
	// VM is the program whose virtual machine this is, such as "Docker Desktop", empty if
	// it is none of a container engine's. The engine knows it, and no probe.
	VM string `json:"-"`
}

// Limits are the OS's own rules about ports.
type Limits struct {
	Ephemeral        port.Range                 `json:"ephemeral"`          // ports of outgoing connections
	Reserved         port.Set                   `json:"reserved,omitempty"` // never handed out automatically
	Excluded         map[port.Protocol]port.Set `json:"excluded,omitempty"` // reserved by the OS (Windows)
	UnprivilegedFrom int                        `json:"unprivileged_from"`  // the first port that needs no right
}

// Outcome is the result of one operation on one endpoint.
type Outcome string

// The outcomes.
const (
	OK        Outcome = "ok"
	InUse     Outcome = "in-use"
	Denied    Outcome = "denied"     // no right to bind
	NoAddress Outcome = "no-address" // the address is not on this host
	NoFamily  Outcome = "no-family"  // the host has no such address family
	Excluded  Outcome = "excluded"   // reserved by the OS
	Failed    Outcome = "failed"     // anything else: see Op and Errno
	NotTried  Outcome = "not-tried"
)

// Attempt is the result of one bind, or of one connect.
type Attempt struct {
	port.Endpoint
	Outcome Outcome `json:"outcome"`
	Op      string  `json:"op,omitempty"`    // the operation that failed: socket, setsockopt, bind, setresuid, connect, resolve; "read PATH" if it is known from a file
	Errno   string  `json:"errno,omitempty"` // its symbolic errno, "EADDRINUSE"; or the resolver's error, or why nothing was tried
}

// Tried answers a Try. Attempts has one entry for each endpoint of each port,
// in order; for a host without IPv6 a 0.0.0.0 entry follows the no-family entry
// of [::] that it stands in for.
type Tried struct {
	Attempts []Attempt `json:"attempts"`
	TableOK  bool      `json:"table_ok"` // the socket table of this protocol was read whole
	// BoundHidden is true if the table does not show TCP sockets that are bound and
	// do not listen.
	BoundHidden bool `json:"bound_hidden,omitempty"`
	UID         int  `json:"uid"` // effective uid of the bind; -1 where unknown
	// NoBindReason is why nothing can be bound on this machine, so that the
	// socket table decides: a phrase for people. It is empty if binds are made.
	NoBindReason string `json:"table_only,omitempty"`
	// Routes are the ways on which NAT rules send callers away, by port.
	Routes []Route `json:"routes,omitempty"`
	// Unreached are the addresses that were bound and where no caller reaches the app.
	Unreached []Unreached `json:"unreached,omitempty"`
}

// Unreached is an address where no caller reaches the app that binds it.
type Unreached struct {
	Addr netip.Addr `json:"addr"`
	// Group is true for a broadcast or multicast address, to which TCP can't connect.
	// Otherwise the host does not have the address now, and allows the bind all the same.
	Group bool `json:"group,omitempty"`
}

// Route is a way to a port on which a NAT rule sends callers away. Ways with the
// same rule and destinations are one Route.
type Route struct {
	Port uint16 `json:"port"`
	// From lists the interfaces where the callers come from, "" for this machine. It
	// and the rest are empty if there are too many routes.
	From   []string      `json:"from,omitempty"`
	More   bool          `json:"more,omitempty"`   // From does not list all
	Addrs  []netip.Addr  `json:"addrs,omitempty"`  // the first of the addresses that they call
	All    bool          `json:"all,omitempty"`    // all callers are sent away; otherwise some may be
	Reason string        `json:"reason,omitempty"` // why it is not known that all are
	To     []Destination `json:"to,omitempty"`
	Rule   Rule          `json:"rule,omitzero"` // the first of the rules
}

// Destination is where callers end. What is not known is zero.
type Destination struct {
	Addr netip.Addr `json:"addr,omitzero"`
	Port uint16     `json:"port,omitempty"`
	Here bool       `json:"here,omitempty"` // an address of this machine
	// Addrs and Ports are the first and the last one, if callers end at any of a range.
	Addrs [2]netip.Addr `json:"addrs,omitzero"`
	Ports [2]uint16     `json:"ports,omitzero"`
	// Container is the container that has the address, and ContainerInfo an engine's
	// description of it, if there is one.
	Container     string         `json:"container,omitempty"`
	ContainerInfo *ContainerInfo `json:"told,omitempty"`
}

// Rule is a NAT rule. Its texts can be anybody's.
type Rule struct {
	Family  string `json:"family,omitempty"` // ip, ip6 or inet
	Table   string `json:"table,omitempty"`
	Chain   string `json:"chain,omitempty"`
	Comment string `json:"comment,omitempty"`
	Text    string `json:"text,omitempty"`   // in about the words of nft and iptables
	Legacy  bool   `json:"legacy,omitempty"` // of iptables-legacy, so that nft does not list it
}

// State is a socket's state as far as it matters to a bind.
type State string

// The states.
const (
	Listen    State = "listen"    // TCP listening, or UDP bound and unconnected
	Bound     State = "bound"     // TCP bound and not listening
	Connected State = "connected" // established or connecting
	TimeWait  State = "time-wait"
	Closing   State = "closing" // any other state after established
	// Allocated is no state of a socket. The kernel has none there, but a container
	// engine has given the port to a container.
	Allocated State = "allocated"
)

// Socket is one entry of the socket table.
type Socket struct {
	port.Endpoint
	State   State    `json:"state"`
	UID     *uint32  `json:"uid,omitempty"` // owner of the socket; nil where the kernel keeps none
	Inode   uint64   `json:"inode,omitempty"`
	Cgroup  uint64   `json:"cgroup,omitempty"` // cgroup v2 ID of the creator; the holder may be in another
	Holders []Holder `json:"holders,omitempty"`
	// Peer is the other end of a TCP connection that was closed here and lasts until the
	// peer acknowledges that.
	Peer netip.AddrPort `json:"peer,omitzero"`
	// DeviceAddrs are the addresses of Device that its name does not imply: of the loopback
	// device those that are no loopback addresses, of another one those that are.
	DeviceAddrs []netip.Addr `json:"device_addrs,omitempty"`
	// MayBeV6Only is true for a socket on [::] if the table does not show whether it
	// serves IPv4 as well. V6Only is false then.
	MayBeV6Only bool `json:"may_be_v6only,omitempty"`
	// Units are the socket unit for which systemd holds this socket, and the services
	// that it starts with it. Those of a user's manager have that manager's name before
	// them, as in Holder.Unit.
	Units []string `json:"units,omitempty"`
	// Kernel is set if the kernel itself made the socket: no process has it open, and
	// every process was examined, or it is that of an interface of KernelDevices.
	Kernel        bool     `json:"kernel,omitempty"`
	KernelDevices []string `json:"kernel_devices,omitempty"`
	// Complete is true if every process was examined, so that there is no other
	// holder of this socket.
	Complete bool `json:"complete,omitempty"`
	// MoreHolders is true if a search left out holders, or processes that may be
	// some, because there are too many or it took too long. Then no owner is proven.
	MoreHolders bool `json:"more_holders,omitempty"`
	// ForksUnseen is true if not all processes could be examined that have forked a
	// holder, or were forked by one: these most likely have its sockets open, too.
	ForksUnseen bool `json:"forks_unseen,omitempty"`
}

// Shares reports whether a new socket on e could take a part of the traffic of
// this one, if both have the options to share.
func (s Socket) Shares(e port.Endpoint) bool {
	return s.State == Listen && s.Overlaps(e) && s.Reached(e.Addr)
}

// Reached reports whether some callers of an address, or of any, come by the device
// that the socket is bound to. Calls of a machine to its own address come by the device
// that has the address, and calls from outside by the one where they arrive: these
// never come by the loopback device, and never to a loopback address.
//
// Source: inet_sk_bound_dev_eq of Linux, and __ip_route_output_key_hash, which sets the
// device of a call to an own address.
func (s Socket) Reached(addr netip.Addr) bool {
	if addr = addr.WithZone("").Unmap(); addr.IsUnspecified() {
		addr = s.Addr
	}
	if s.Device == "" || addr.IsUnspecified() || addr.IsMulticast() || slices.Contains(s.DeviceAddrs, addr) {
		return true
	}
	return addr.IsLoopback() == s.OwnCallersOnly()
}

// OwnCallersOnly reports whether the socket is bound to the loopback device, by which
// no caller comes from outside.
func (s Socket) OwnCallersOnly() bool { return s.Device == loopbackDevice }

// MayBlock reports whether the socket can make a bind of e fail although the two
// have no address in common. Linux compares 0.0.0.0 with an IPv4 address that every
// IPv6 socket has beside its own. The one of a socket that was bound to [::] and
// connected, or accepted there, is 127.0.0.6.
//
// Source: inet_rcv_saddr_equal and LOOPBACK4_IPV6 of Linux.
func (s Socket) MayBlock(e port.Endpoint) bool {
	return s.Protocol == e.Protocol && s.Port == e.Port && e.Addr == ipv4Unspecified &&
		s.Addr.Is6() && !s.Addr.IsUnspecified() && s.State != Listen && s.State != Bound
}

// loopbackDevice is its name on every Linux. Other systems don't show devices.
const loopbackDevice = "lo"

// Holder is a process that has the socket open, which is proven by a descriptor
// with the socket's inode. A field that could not be read is empty and listed in
// Unseen. A field that is empty and not in Unseen does not apply: the process is in
// no unit, for example.
type Holder struct {
	PID        int       `json:"pid"`
	Process    string    `json:"process,omitempty"`    // the process's own name, which can be forged
	Executable string    `json:"executable,omitempty"` // path of the binary, as the process has it
	File       FileProof `json:"file,omitempty"`       // what is known about the binary
	UID        int       `json:"uid"`                  // effective; -1 where unknown
	User       string    `json:"user,omitempty"`
	// Unit is the systemd unit. One of a user's manager has that manager's name
	// before it: "user@1000.service/shop.service".
	Unit      string    `json:"unit,omitempty"`
	Container string    `json:"container,omitempty"` // container ID; for a proxy that of the container behind it
	Started   time.Time `json:"started,omitzero"`
	Command   []string  `json:"command,omitempty"`
	Unseen    []string  `json:"unseen,omitempty"` // of the Facts, ContainerName and NamesUnseen
	// Job is the job that started the process, as its environment says; nil if that names
	// none.
	Job *Job `json:"job,omitempty"`
	// Names are other names of the executable: each is a link in the system's own
	// directories that leads to it, and the process calls itself so.
	Names []string `json:"names,omitempty"`
	Condition
	// MasterUnseen is set if /proc hides the master (mount option hidepid).
	MasterUnseen bool `json:"master_unseen,omitempty"`
	// LeavesCopies is set if the master does not handle SIGTERM: whatever ends it does not
	// end its copies.
	LeavesCopies bool `json:"leaves_copies,omitempty"`
	// OfScript is set if the parent is a shell that runs a script. The script may have a
	// loop that starts the process again.
	OfScript bool `json:"of_script,omitempty"`
	// Self is set if it is the process that probes, which was started with the socket.
	Self bool `json:"self,omitempty"`
	// LeftOver is set for a forwarder that no container needs any more.
	LeftOver bool `json:"left_over,omitempty"`
	// Master is the process of which this one is a forked copy, 0 if it is none. A
	// server that runs workers replaces one that ends.
	Master int `json:"master,omitempty"`
	// Starter is the parent, if it executes the same file and this one is no copy of it.
	Starter int `json:"starter,omitempty"`
	// Above is whoever may start another one: the master, else the starter or the shell. It
	// is nil if nothing is known that matters.
	Above *Above `json:"above,omitempty"`
	// Parent and ParentName are the parent's PID and name. A name can be forged.
	Parent     int    `json:"parent,omitempty"`
	ParentName string `json:"parent_name,omitempty"`
	// MonitorUnit is the systemd unit, as in Unit, of the conmon that watches the
	// container of Podman's in which the process runs, or for which it holds the port.
	MonitorUnit string `json:"monitor_unit,omitempty"`
	// Engine is the container engine that the name of the cgroup belongs to: docker,
	// podman, containerd, cri-o or kubernetes; empty if it is not known.
	Engine string `json:"engine,omitempty"`
	// Vouched lists which of FactUnit and FactContainer only root's programs can have
	// named. A user names the cgroups that he owns as he likes. The container of a
	// forwarder that a user runs is what his own conmon or engine says.
	Vouched []string `json:"vouched,omitempty"`
	// Parents are the ancestors of a process with a container that is not vouched
	// for, the parent first. The engine knows the first process of the container.
	Parents []int `json:"parents,omitempty"`
	// ContainerInfo is a container engine's description of the container, or has the name
	// from the command line of a conmon; nil if no engine was asked, or if it has
	// no such container. Anybody may have written its text.
	ContainerInfo *ContainerInfo `json:"told,omitempty"`
}

// Condition is what decides how a process can be ended.
type Condition struct {
	Stopped bool `json:"stopped,omitempty"` // by a signal, until SIGCONT
	// IgnoresTerm is set if SIGTERM does nothing to the process.
	IgnoresTerm bool `json:"ignores_term,omitempty"`
	// MasksTerm is set if the process blocks SIGTERM, and nothing shows that it reads it.
	MasksTerm bool `json:"masks_term,omitempty"`
	// Blocked is set if it waits in the kernel and takes no signal meanwhile.
	Blocked bool `json:"blocked,omitempty"`
	// TraceStopped is set if its tracer has stopped it, a debugger for example: it takes no
	// signal but SIGKILL. Tracer is the tracer's PID, 0 if /proc does not show that.
	TraceStopped bool  `json:"trace_stopped,omitempty"`
	Tracer       int32 `json:"tracer,omitempty"`
}

// Above is what matters of a process that may start a holder again.
type Above struct {
	Condition
	// Serves is the first other endpoint at which the process serves, if it does not hold
	// the socket.
	Serves *port.Endpoint `json:"serves,omitempty"`
}

// Job is a job of a CI system, or of portcheck's own. All of it is text that the process
// may have chosen.
type Job struct {
	Named    string `json:"named,omitempty"`    // by PORTCHECK_JOB
	Identity string `json:"identity,omitempty"` // by the variables of a CI system
	Text     string `json:"text,omitempty"`     // Identity for people
	Own      bool   `json:"-"`                  // it is the job that asks
	Runs     bool   `json:"-"`                  // it has a lease
}

// Allocation is a port that a container engine has given to a container.
type Allocation struct {
	port.Endpoint
	Container     string         `json:"container"`
	ContainerInfo *ContainerInfo `json:"told,omitempty"`
	User          int            `json:"user"` // uid of the engine; -1 where unknown
}

// FileProof is what is known about the file that a process executes. It is empty if
// nothing is.
type FileProof string

// The proofs. Only the machine itself has them: a process can have a mount
// namespace in which other files have the paths of the machine's.
const (
	FileOther   FileProof = "other"   // not the machine's file of that path
	FileMachine FileProof = "machine" // the machine's file of that path, or the one that an update replaced
	FileRoots   FileProof = "roots"   // the same, and only root can write to it
)

// The words of Unseen and Vouched for what is known about a process. Unseen is in
// listings, too.
const (
	FactExecutable = "executable"
	FactUser       = "user"
	FactUnit       = "unit"
	FactContainer  = "container"
)

// ContainerName is in Unseen if an engine should have described the container,
// and did not.
const ContainerName = "container name"

// NamesUnseen is in Unseen if it could not be found out whether Names has all names of
// the executable.
const NamesUnseen = "names"

// ContainerInfo describes a container.
type ContainerInfo struct {
	Name    string `json:"name"`
	Image   string `json:"image,omitempty"`
	Compose string `json:"compose,omitempty"` // project/service
	Service string `json:"service,omitempty"` // name of the CI job's service, if it is one
	Engine  string `json:"engine,omitempty"`  // docker or podman
	// Unit is the systemd unit that starts the container, as in Holder.Unit; empty if
	// none is known.
	Unit string `json:"unit,omitempty"`
	// NameOnly is set if no engine described it: the other facts are not known.
	NameOnly bool `json:"name_only,omitempty"`
	// Socket is the address of an engine that a user runs without root, for that
	// user's and root's commands; empty for root's own.
	Socket string `json:"socket,omitempty"`
}

// Gap is something that could not be seen.
type Gap struct {
	What  string  `json:"what"` // a sentence for people, without a full stop
	Op    string  `json:"op,omitempty"`
	Errno string  `json:"errno,omitempty"`
	Kind  GapKind `json:"kind,omitempty"`
}

// GapKind is the kind of facts that a gap leaves out. It is empty if no facts are
// missing, for example if a default is assumed.
type GapKind string

// The kinds of gaps.
const (
	GapSockets    GapKind = "sockets"         // sockets are missing
	GapLeases     GapKind = "leases"          // leases of ports are missing
	GapHolders    GapKind = "holders"         // holders of sockets are missing
	GapContainers GapKind = "container-names" // the descriptions of containers, of holders with ContainerName in Unseen
	GapRules      GapKind = "nat-rules"       // NAT rules
	GapAllocated  GapKind = "allocated"       // the ports that a container engine has given to containers
	GapNamespace  GapKind = "namespace"       // the ports may be those of another namespace than the user means
)
