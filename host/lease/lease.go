// Package lease holds ports for a job, so that nobody else who asks portcheck gets
// them and the kernel gives them to nobody by chance. A keeper, which is a process of
// its own, holds the ports of one lease. They are free again when it ends.
package lease

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/org/portcheck/port"
)

// Lease is what the keeper of a port says about itself. ID, Job, App and Name are
// text of strangers. PID and UID are from the kernel where locks are sockets. Where
// they are files, all of them are this user's, and the file says the PID.
type Lease struct {
	ID      string    `json:"id,omitempty"`
	Job     string    `json:"job,omitempty"`
	App     string    `json:"app,omitempty"`
	Name    string    `json:"name,omitempty"` // of the need that has the port
	Since   time.Time `json:"since,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
	// UntilExit is a process, as the keeper numbers it, with which the lease ends.
	UntilExit int `json:"until_exit,omitempty"`
	PID       int `json:"-"` // of the keeper; 0 if it is in another PID namespace, or unknown
	UID       int `json:"-"` // of the keeper; -1 if unknown
}

// Held is a port with its lease.
type Held struct {
	Lease
	Protocol port.Protocol
	Port     uint16
}

// byNumber compares ports by protocol and number.
func byNumber(a, b Held) int {
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

// OwnedBy reports whether a lease is that of a job of this process's user.
func (l Lease) OwnedBy(job string) bool { return l.Job == Name(job) && l.UID == os.Geteuid() }

// line returns what a keeper says about its lease: a Lease, or what has one. With names
// made by Name it has less than mostLine bytes.
func line(said any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // six bytes for one
	err := e.Encode(said)
	return b.Bytes(), err
}

// Want is one need of ports, one for each of its protocols, all with one number.
type Want struct {
	Name      string          `json:"name"`
	Protocols []port.Protocol `json:"protocols"`
	Ports     port.Set        `json:"ports"`  // where its first port may be, in order of preference
	Length    int             `json:"length"` // the number of neighbouring ports
	// Guard holds each TCP port by a socket, too, and GuardUDP each UDP port. Only
	// servers that set SO_REUSEADDR can bind beside it.
	Guard    bool `json:"guard"`
	GuardUDP bool `json:"guard_udp,omitempty"`
}

// Request asks a keeper to hold ports for all wants or for none.
type Request struct {
	ID      string    `json:"id"`
	Job     string    `json:"job"`
	App     string    `json:"app"`
	Expires time.Time `json:"expires"`
	// Lifetime is how long the lease lasts, whatever the clock of the machine says. If it
	// is 0, the lease ends at Expires.
	Lifetime  time.Duration `json:"lifetime,omitempty"`
	UntilExit int           `json:"until_exit,omitempty"` // a process with which the lease ends
	Wants     []Want        `json:"wants"`
	// Directory is where the locks are if they are files. Start sets it.
	Directory string `json:"directory,omitempty"`
	// Orphan is set if the program that is started starts the keeper and ends at once,
	// so that the keeper is no child of this process.
	Orphan bool `json:"-"`
}

// Reply is what a keeper answers before it keeps.
type Reply struct {
	First []uint16 `json:"first,omitempty"` // the first port of each want
	Unmet *int     `json:"unmet,omitempty"` // the want for which there is no port
	Error string   `json:"error,omitempty"` // why nothing could be held
}

// mostLine is how many bytes a keeper's line, or a request to it, may have.
const mostLine = 1024

// mostName is how many bytes the name of a job, an app or a need has in a lease, so
// that a line about it is shorter than mostLine.
const mostName = 100

// Name returns the text as a lease has it: printable, and of bounded length. Texts
// that differ stay different.
func Name(text string) string {
	clean := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, text)
	if clean == text && len(text) <= mostName {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	suffix := "~" + hex.EncodeToString(sum[:8])
	return strings.ToValidUTF8(clean[:min(len(clean), mostName-len(suffix))], "") + suffix
}

// Listed is the error of asking for leases where it is known all the same which ports are
// leased, but not to whom.
type Listed struct{ error }

func (e Listed) Unwrap() error { return e.error }

// Look returns the lease of a port, and reports whether there is one. It waits for the
// keeper's line until the deadline. What it does not learn by then is zero. A port that
// can't be asked for may be leased.
func Look(protocol port.Protocol, n uint16, deadline time.Time) (Lease, bool) {
	all, err := LookAll([]Held{{Protocol: protocol, Port: n}}, deadline)
	if err != nil {
		return Lease{UID: -1}, true
	}
	if len(all) == 0 {
		return Lease{}, false
	}
	return all[0].Lease, true
}

// describe takes over what a keeper says about its lease.
func (l *Held) describe(told Lease) {
	l.ID, l.Job, l.App, l.Name = Name(told.ID), Name(told.Job), Name(told.App), Name(told.Name)
	l.Since, l.Expires = plausible(told.Since), plausible(told.Expires)
	l.UntilExit = max(told.UntilExit, 0)
}

// plausible returns a time that JSON can have in every time zone, else none.
func plausible(t time.Time) time.Time {
	if year := t.UTC().Year(); year < 1970 || year > 9000 {
		return time.Time{}
	}
	return t.UTC()
}
