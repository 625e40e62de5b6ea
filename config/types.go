// Package config says what is needed: it reads manifests, strictly, and
// reports every error of every one at its line and column.
package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/org/portcheck/port"
)

// Position is a place in a manifest. Line and Column count from 1, columns in
// characters; both are 0 for what has no place in a file, such as a flag.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String is "portcheck.yml:6:11", or the file alone where there is no line.
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

// Error is the position and the message.
func (p Problem) Error() string {
	if p.File == "" {
		return p.Message
	}
	return p.Position.String() + ": " + p.Message
}

// Expect is what has to be true of a need's port.
type Expect string

// What can be expected.
const (
	Free      Expect = "free"      // the app can bind it
	Listening Expect = "listening" // somebody listens on it
	Reachable Expect = "reachable" // a TCP connect to Remote succeeds
)

// Severity is the weight of an unmet need.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// Manifest is one file of needs, every default applied to its Ports.
type Manifest struct {
	File    string // as named on the command line
	App     string
	Host    string
	Targets []NamedTarget
	Ports   []Port
}

// NamedTarget is a target under the name that a manifest gives it.
type NamedTarget struct {
	Position
	Name string
	URL  string // what ParseTarget takes
}

// Port is one entry of a manifest's ports. An entry that names two protocols
// is one Port: its app moves as a whole.
type Port struct {
	At           Position // of the port value
	Name         string
	Ports        port.Range // one port, or a block of which all is needed
	Protocols    []port.Protocol
	Addresses    []port.Address // none for Reachable
	Expect       Expect
	Remote       string // host name or IP; for Reachable alone
	Owner        []Owner
	ReuseAddress *bool // nil: true for tcp, false for udp
	ReusePort    bool
	RunAs        string
	Range        port.Set
	Exclude      port.Set
	Wait         time.Duration
	Allow        []NoticeCode
	Env          string
	Severity     Severity
	Targets      []string // empty: all
}

// Binding is how the app opens its socket of one protocol.
func (p Port) Binding(proto port.Protocol) port.Binding {
	reuse := proto == port.TCP
	if p.ReuseAddress != nil {
		reuse = *p.ReuseAddress
	}
	return port.Binding{Protocol: proto, Addresses: p.Addresses, ReuseAddress: reuse, ReusePort: p.ReusePort}
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

// NoticeCode is the code of something worth knowing about a need that is not its
// status.
type NoticeCode string

// The notice codes.
const (
	Claimed    NoticeCode = "claimed"     // bound by somebody who does not listen yet
	Ephemeral  NoticeCode = "ephemeral"   // the OS hands it to outgoing connections
	Privileged NoticeCode = "privileged"  // needs a right that the app may lack
	Duplicate  NoticeCode = "duplicate"   // another need excludes this one
	Degraded   NoticeCode = "degraded"    // not everything could be seen
	TimeWait   NoticeCode = "time-wait"   // held by TIME_WAIT alone
	Squatter   NoticeCode = "squatter"    // a well-known program sits there
	UnsafePort NoticeCode = "unsafe-port" // browsers refuse it
	NoIPv6     NoticeCode = "no-ipv6"     // judged on IPv4 alone
)

// NoticeCodes lists every notice code.
var NoticeCodes = []NoticeCode{Claimed, Ephemeral, Privileged, Duplicate, Degraded, TimeWait, Squatter, UnsafePort, NoIPv6}
