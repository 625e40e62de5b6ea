package check

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/port"
)

// Leases is the output of `portcheck leases`.
type Leases struct {
	Version int           `json:"version"`
	Leases  []ListedLease `json:"leases"`
}

// Lease is what is known of a lease. All of it but PID, UID and User is what its
// keeper says.
type Lease struct {
	ID      string    `json:"id"`
	Job     string    `json:"job"`
	App     string    `json:"app"`
	PID     int       `json:"pid,omitempty"` // of the keeper
	UID     *int      `json:"uid,omitempty"`
	User    string    `json:"user,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
	// UntilExit is a process, as the keeper numbers it, with which the lease ends.
	UntilExit int `json:"until_exit,omitempty"`
}

// ListedLease is a lease with its ports.
type ListedLease struct {
	Lease
	Target string       `json:"target,omitempty"`
	Ports  []LeasedPort `json:"ports"`
	// Ours is set if the user that the target is asked as may end it.
	Ours bool `json:"-"`
}

// LeasedPort is one port of a lease.
type LeasedPort struct {
	Protocol port.Protocol `json:"protocol"`
	Port     uint16        `json:"port"`
	Name     string        `json:"name,omitempty"` // of the need
}

// leaseOf returns the lease that a port of a target has, as reports describe it.
func leaseOf(l host.Lease) Lease {
	of := Lease{ID: l.ID, Job: l.Job, App: l.App, PID: l.PID, User: l.User, Since: l.Since, Expires: l.Expires, UntilExit: l.UntilExit}
	if l.UID >= 0 {
		of.UID = &l.UID
	}
	return of
}

// LeasesOf returns the leases that ports of a target have, in the order of their first
// ports.
func LeasesOf(target string, held []host.Lease) Leases {
	type key struct {
		id       string
		pid, uid int
	}
	all := Leases{Version: 1, Leases: []ListedLease{}}
	index := map[key]int{}
	held = slices.Clone(held)
	slices.SortStableFunc(held, func(a, b host.Lease) int { return cmp.Compare(a.Port, b.Port) })
	for _, h := range held {
		k := key{h.ID, h.PID, h.UID} // the ID alone may be a stranger's
		i, known := index[k]
		if !known {
			i = len(all.Leases)
			index[k] = i
			l := ListedLease{Target: target, Lease: leaseOf(h), Ours: h.Ours}
			all.Leases = append(all.Leases, l)
		}
		l := &all.Leases[i]
		l.Ports = append(l.Ports, LeasedPort{h.Protocol, h.Port, h.Name})
	}
	return all
}

const (
	// leaseTime limits how long the keepers of a machine may take to say what they
	// hold, in all of a run.
	leaseTime = 750 * time.Millisecond
	// leastLeaseTime is what is left of it at least: those that do answer do so in a
	// millisecond.
	leastLeaseTime = 20 * time.Millisecond
)

// leasedToOthers returns the lease by which another job has the port of an endpoint, or
// nil.
func leasedToOthers(leases []host.Lease, e port.Endpoint) *host.Lease {
	for i, l := range leases {
		if !l.Own && l.Protocol == e.Protocol && l.Port == e.Port {
			return &leases[i]
		}
	}
	return nil
}

// leasesUnknown reports whether another job may have leased a port without being in the
// leases of f.
func leasesUnknown(f host.Facts) bool {
	return slices.ContainsFunc(f.Gaps, func(g host.Gap) bool { return g.Kind == host.GapLeases })
}

// leasedStatus returns the verdict on a port that another job has leased. That job's
// own server may listen already, or a stranger that has not asked.
func leasedStatus(sockets []host.Socket) Status {
	if slices.ContainsFunc(sockets, func(s host.Socket) bool { return s.State == host.Listen || isAllocated(s) }) {
		return InUse
	}
	return Leased
}

// addLease adds the lease that is in the way of a need to its result.
func (n Need) addLease(r *Result, leases []host.Lease) {
	if r.Status != Leased && r.Status != InUse {
		return
	}
	ports := r.Ports()
	i := slices.IndexFunc(leases, func(l host.Lease) bool { return !l.Own && l.Protocol == r.Protocol && ports.Contains(l.Port) })
	if i < 0 {
		return
	}
	l := leases[i]
	of := leaseOf(l)
	r.Lease = &of
	to := leasedTo(l)
	if r.Status == InUse {
		r.Message += ", and " + to
		return
	}
	r.Message = n.subject(r.Protocol)
	if ports.Len() > 1 {
		r.Message += fmt.Sprintf(": %d", l.Port)
	}
	r.Message += " is " + to
}

// leasedTo says who has a lease: "leased to job 7 (held by pid 812, user alice) until
// 2026-01-02T15:04:05Z".
func leasedTo(l host.Lease) string {
	text := "leased to " + LeaseWord(l.Job)
	if l.Job == "" {
		text = "leased to a job that has not answered"
	}
	var who []string
	if l.PID > 0 {
		who = append(who, fmt.Sprintf("held by pid %d", l.PID))
	}
	if user := UserText(clip(l.User, 32), uidOf(l.UID)); user != "" {
		who = append(who, user)
	}
	if len(who) > 0 {
		text += " (" + list(who) + ")"
	}
	switch end := l.Expires.UTC().Format(time.RFC3339); {
	case l.UntilExit > 0 && !l.Expires.IsZero():
		text += fmt.Sprintf(" until process %d ends, %s at the latest", l.UntilExit, end)
	case l.UntilExit > 0:
		text += fmt.Sprintf(" until process %d ends", l.UntilExit)
	case !l.Expires.IsZero():
		text += " until " + end
	}
	return text
}

// LeaseWord returns a text of a lease for a sentence or a table. Any process can say
// anything there, so what is not a plain word is in quotes, and can't go on with the
// sentence.
func LeaseWord(text string) string {
	text = clip(text, 100)
	odd := func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("-_./:@#~+?", c)
	}
	if text == "" || text == "?" || strings.ContainsFunc(text, odd) { // ? stands for no text
		return strconv.Quote(text)
	}
	return text
}

// Limits on the leases of an answer.
const (
	mostLeases  = 1 << 17
	textOfLease = 1 << 10
)

// validateLeases checks the leases of an answer.
func validateLeases(leases []host.Lease) error {
	length := 0
	type texts struct{ id, job, app, name, user string }
	seen := map[texts]bool{} // a lease of many ports has the same ones for each
	for _, l := range leases {
		if l.Port == 0 || !slices.Contains(port.Protocols, l.Protocol) || l.PID < 0 || l.UntilExit < 0 || l.UID < -1 || !inOurTimes(l.Since) || !inOurTimes(l.Expires) {
			return errors.New("it has an impossible lease")
		}
		for _, text := range []string{l.ID, l.Job, l.App, l.Name} {
			if text != lease.Name(text) {
				return errors.New("a text of its leases is too long, or has control characters")
			}
		}
		if t := (texts{l.ID, l.Job, l.App, l.Name, l.User}); !seen[t] {
			seen[t] = true
			length += len(l.ID) + len(l.Job) + len(l.App) + len(l.Name) + len(l.User)
		}
	}
	if len(leases) > mostLeases || length > textOfAll+textOfLease*min(len(leases), 4096) {
		return errors.New("it has too many leases")
	}
	return nil
}

// inOurTimes reports whether a time can be shown in every format and time zone.
func inOurTimes(t time.Time) bool {
	year := t.UTC().Year()
	return t.IsZero() || 1970 <= year && year <= 9000
}

// validateHeld checks the answer about leases to a request.
func validateHeld(r host.LeaseReply, req host.LeaseRequest) error {
	if start := req.Start; start != nil {
		return validateStarted(r, start.Wants)
	}
	if err := errors.Join(validateLeases(r.Leases), validateLeases(r.Silent)); err != nil {
		return err
	}
	asked, seen := map[socketKey]bool{}, map[socketKey]bool{}
	for _, l := range req.Look {
		asked[socketKey{l.Protocol, l.Port}] = true
	}
	for _, l := range r.Leases {
		key := socketKey{l.Protocol, l.Port}
		switch {
		case seen[key]:
			return fmt.Errorf("it has %s %d twice", l.Protocol, l.Port)
		case len(req.Look) > 0 && !asked[key]:
			return fmt.Errorf("it has %s %d, which was not requested", l.Protocol, l.Port)
		case req.List == host.OwnLeases && !l.Own:
			return fmt.Errorf("it has %s %d, which is another job's", l.Protocol, l.Port)
		}
		seen[key] = true
	}
	return nil
}

// validateStarted checks the ports that a keeper holds.
func validateStarted(r host.LeaseReply, wants []lease.Want) error {
	if r.Unmet != nil {
		if *r.Unmet < 0 || *r.Unmet >= len(wants) {
			return errors.New("it is about another need")
		}
		return nil
	}
	if len(r.First) != len(wants) {
		return fmt.Errorf("it has %d ports instead of %d", len(r.First), len(wants))
	}
	taken := map[port.Protocol]*port.Bits{}
	for i, w := range wants {
		block := port.Range{First: r.First[i], Last: r.First[i] + uint16(w.Length-1)}
		if !w.Ports.Contains(block.First) || block.Last < block.First {
			return fmt.Errorf("it has port %d, which was not requested", r.First[i])
		}
		for _, proto := range w.Protocols {
			if taken[proto] == nil {
				taken[proto] = new(port.Bits)
			}
			if taken[proto].HasAny(block) {
				return fmt.Errorf("it has %s %s twice", proto, block)
			}
			taken[proto].AddSet(port.Set{block})
		}
	}
	return nil
}
