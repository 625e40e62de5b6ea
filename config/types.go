// Package config reads manifests: the files that declare which ports an app
// needs. It is strict, and reports every problem of every manifest with its line
// and column.
package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/org/portcheck/port"
)

// Position is a position in a manifest. Line and Column start at 1; Column counts
// characters. Both are 0 for what is not in a file, such as a flag.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String returns "portcheck.yml:6:11", or the file alone if there is no line.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// IsFlag reports whether the position is a flag of the command line instead of a
// place in a file. Its File is then the flag, such as "--port".
func (p Position) IsFlag() bool { return p.Line == 0 && strings.HasPrefix(p.File, "--") }

// Problem is one error of a manifest or of the command line.
type Problem struct {
	Position
	Message string `json:"message"`
}

// Error returns the position and the message.
func (p Problem) Error() string {
	if p.File == "" {
		return p.Message
	}
	return p.Position.String() + ": " + p.Message
}

// Expect is what a need expects of its port.
type Expect string

// The expectations.
const (
	Free      Expect = "free"      // the app can bind it
	Listening Expect = "listening" // a process listens on it
	Reachable Expect = "reachable" // a TCP connect to Remote succeeds
	// Unreachable is met if every TCP connect to Remote is refused or gets no answer.
	Unreachable Expect = "unreachable"
)

var expects = []Expect{Free, Listening, Reachable, Unreachable}

// Expects returns every expectation as text.
func Expects() []string { return texts(expects) }

// Connects reports whether the need connects to Remote, and binds nothing.
func (e Expect) Connects() bool { return e == Reachable || e == Unreachable }

// Severity is the weight of an unmet need.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// Severities lists the severities.
var Severities = []Severity{SeverityError, SeverityWarning}

// Manifest is one parsed manifest. All defaults are applied to its Ports.
type Manifest struct {
	File    string // as named on the command line
	Found   bool   `json:",omitempty"` // below a directory, and not named itself
	Compose bool   `json:",omitempty"` // it is a Compose file
	App     string
	Host    string
	Targets []NamedTarget
	Ports   []Port
}

// NamedTarget is a target with the name that a manifest gives it.
type NamedTarget struct {
	Position
	Name string
	URL  string // the target, as ParseTarget parses it
}

// Port is one entry of a manifest's ports. An entry with two protocols is one
// Port: both move to another port together.
type Port struct {
	At        Position // of the port value
	Name      string
	Ports     port.Range // one port, or a block that is needed as a whole; of an auto the first of its range
	Auto      bool       `json:",omitempty"` // any port or block of Range will do
	Protocols []port.Protocol
	Addresses []port.Address // empty if Expect.Connects
	Expect    Expect
	Remote    string // host name or IP, if Expect.Connects
	// ConnectTimeout limits each connect to Remote; 0: DefaultConnectTimeout.
	ConnectTimeout time.Duration `json:",omitempty"`
	Only           bool          `json:",omitempty"` // for Listening: nobody may listen on the ports outside of Addresses
	Owner          []Owner
	ReuseAddress   *bool // nil: true for tcp and with Guard, else false
	ReusePort      bool
	Device         string // that the app binds to; empty: none
	RunAs          string
	Range          port.Set
	Exclude        port.Set
	Wait           time.Duration
	Allow          []NoticeCode
	Env            string // Variable has the default
	Guard          *bool  `json:",omitempty"` // whether a lease also holds the port in the kernel; nil: as the protocol has it
	Severity       Severity
	Targets        []string // empty: all
	Project        string   `json:",omitempty"` // of Compose, or ""
	Container      uint16   `json:",omitempty"` // the container's port that it publishes, or 0
	Group          string   `json:",omitempty"` // needs of one file with different ones don't exclude each other
	Replicas       int      `json:",omitempty"` // how many of the app run on one host; 0: one
	Service        *Service `json:"-"`          // of Compose, that publishes it, or nil
	Entry          int      `json:"-"`          // the index of its first port in Service.Ports
}

// Service is a service of Compose with all ports of its containers that it publishes,
// also those that are no needs.
type Service struct {
	File   string // the Compose file, or the first one of those that are merged
	Name   string
	OnHost bool // it is in the host's network, and publishes nothing
	Ports  []ServicePort
}

// ServicePort is a port in the long syntax of Compose.
type ServicePort struct {
	Target                  uint16
	Published               string // empty: the engine chooses; a range: it chooses from that
	HostIP, Protocol        string
	Mode, Name, AppProtocol string
}

// DefaultConnectTimeout is how long a connect may take if nothing else is said.
const DefaultConnectTimeout = 5 * time.Second

// MostDuration is the longest duration of a manifest, of a flag and of a helper. A
// job ends earlier: GitHub's after 6 hours.
const MostDuration = 24 * time.Hour

// Binding returns how the app opens its socket of one protocol.
func (p Port) Binding(proto port.Protocol) port.Binding {
	// A server that can start beside a guard sets it.
	reuse := proto == port.TCP || p.Guard != nil && *p.Guard
	if p.ReuseAddress != nil {
		reuse = *p.ReuseAddress
	}
	return port.Binding{Protocol: proto, Addresses: p.Addresses, ReuseAddress: reuse, ReusePort: p.ReusePort, Device: p.Device}
}

// Owner is a set of globs (path.Match); every key that is set must match.
type Owner struct {
	Process    string `json:"process,omitempty"`    // basename of the executable
	Executable string `json:"executable,omitempty"` // its path
	Unit       string `json:"unit,omitempty"`       // systemd unit
	Container  string `json:"container,omitempty"`  // name or ID
	Image      string `json:"image,omitempty"`
	Compose    string `json:"compose,omitempty"` // project/service
	User       string `json:"user,omitempty"`
}

// NoticeCode is the code of a notice: a remark about a need that does not change
// its status.
type NoticeCode string

// The notice codes.
const (
	Claimed    NoticeCode = "claimed"              // bound by a process that does not listen yet
	Ephemeral  NoticeCode = "ephemeral"            // in the range that the OS uses for outgoing connections
	Privileged NoticeCode = "privileged"           // binding it needs a right that the app may lack
	Duplicate  NoticeCode = "duplicate"            // another need excludes this one
	Degraded   NoticeCode = "degraded"             // some information could not be read
	TimeWait   NoticeCode = "time-wait"            // held only by connections in TIME_WAIT
	Squatter   NoticeCode = "squatter"             // the default port of a well-known program
	UnsafePort NoticeCode = "unsafe-port"          // browsers refuse it
	NAT        NoticeCode = "nat"                  // NAT rules may send some callers elsewhere
	NoIPv6     NoticeCode = "no-ipv6"              // checked on IPv4 only
	Replicas   NoticeCode = "replicas"             // several of the app want one port
	Published  NoticeCode = "published-everywhere" // a database or the like that every address reaches
	NoCallers  NoticeCode = "no-callers"           // an address can be bound, and callers don't reach it
)

// NoticeCodes lists every notice code.
var NoticeCodes = []NoticeCode{Claimed, Ephemeral, Privileged, Duplicate, Degraded, TimeWait, Squatter, UnsafePort, NoIPv6, NAT, Replicas, Published, NoCallers}

// Excludes reports whether a need with such a notice can't be met, whatever the state
// of its port.
func (c NoticeCode) Excludes() bool { return c == Duplicate || c == Replicas }
