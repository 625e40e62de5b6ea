package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/port"
)

// Leaser is a Host on which ports can be held for jobs.
type Leaser interface {
	Host
	// Hold does one operation on leases. It returns an error if it could not be done.
	Hold(ctx context.Context, req LeaseRequest) (LeaseReply, error)
}

// LeaseRequest asks for one operation on leases: the first of Unlock, Start, Confirm,
// Release, List and Look that is set.
type LeaseRequest struct {
	// Start starts a keeper, which holds ports for all wants or for none.
	Start *lease.Request `json:"start,omitempty"`
	// Confirm makes what was started independent of a connection. Until then a remote
	// host releases it when the connection ends.
	Confirm bool `json:"confirm,omitempty"`
	// Release ends the lease of a port.
	Release *LeasePort `json:"release,omitempty"`
	// List asks for the leases of every port, or for those of Job and of the host's own
	// user.
	List LeaseList `json:"list,omitempty"`
	// Look asks for the leases of these ports.
	Look []LeasePort `json:"look,omitempty"`
	// Job is the job that asks: its leases are marked as its own.
	Job string `json:"job,omitempty"`
	// Lock, with List, first waits until no other request chooses ports for Job.
	Lock *JobLock `json:"lock,omitempty"`
	// Unlock ends the lock with this token. Otherwise it ends with the connection.
	Unlock string `json:"unlock,omitempty"`
	// Budget limits how long keepers may take to answer, 0 for the default.
	Budget time.Duration `json:"budget,omitempty"`
}

// JobLock is the right to choose ports for a job. Those with one token are the same.
type JobLock struct {
	Token string        `json:"token"`
	Wait  time.Duration `json:"wait,omitempty"` // how long to wait for another that has it
}

// LeaseList selects leases.
type LeaseList string

// The selections.
const (
	OwnLeases LeaseList = "own"
	AllLeases LeaseList = "all"
)

// LeasePort is a port that may be leased.
type LeasePort struct {
	Protocol port.Protocol `json:"protocol"`
	Port     uint16        `json:"port"`
	// ID, if set, is that of the lease which has to have the port.
	ID string `json:"id,omitempty"`
}

// LeaseReply answers a LeaseRequest.
type LeaseReply struct {
	First    []uint16 `json:"first,omitempty"`    // of Start: the first port of each want
	Unmet    *int     `json:"unmet,omitempty"`    // of Start: the want for which there is no port
	Released bool     `json:"released,omitempty"` // of Release: the lease has ended
	Leases   []Lease  `json:"leases,omitempty"`   // of List and Look
	// Silent are leases of the host's own user, for a List of OwnLeases, of which the keepers
	// have not said the job.
	Silent []Lease `json:"silent,omitempty"`
	// Busy is set if Lock could not be had, and Chooser is the process that has it, if known.
	Busy    bool `json:"busy,omitempty"`
	Chooser int  `json:"chooser,omitempty"`
	// Waited is how long List or Look took.
	Waited time.Duration `json:"waited,omitempty"`
}

// Hold does an operation on leases of a host. The error says so if ports can't be held
// there.
func Hold(ctx context.Context, h Host, req LeaseRequest) (LeaseReply, error) {
	if l, ok := h.(Leaser); ok {
		return l.Hold(ctx, req)
	}
	return LeaseReply{}, errors.New("no port can be held there")
}

// leaseBudget limits how long keepers may take to answer, all of a request together. A
// caller goes on within a second.
const leaseBudget = 750 * time.Millisecond

// mostLockWait limits how long one request waits for the lock of a job.
const mostLockWait = 10 * time.Second

// Hold implements Leaser. A keeper is this program with the argument "keep".
func (Local) Hold(ctx context.Context, req LeaseRequest) (LeaseReply, error) {
	budget := leaseBudget
	if req.Budget > 0 {
		budget = min(budget, req.Budget)
	}
	switch {
	case req.Unlock != "":
		lease.UnlockJob(req.Unlock)
		return LeaseReply{}, nil
	case req.Lock != nil && req.List != "":
		until := time.Now().Add(min(req.Lock.Wait, mostLockWait))
		if pid, ok := lease.LockJob(ctx, req.Job, req.Lock.Token, until); !ok {
			return LeaseReply{Busy: true, Chooser: pid}, nil
		}
	}
	start := time.Now()
	deadline := start.Add(budget)
	switch {
	case req.Start != nil:
		args := []string{"keep"}
		if req.Start.Orphan {
			args = append(args, "--orphan")
		}
		r, err := lease.Start(ctx, Executable(), args, lease.Environment(os.Environ()), *req.Start)
		return LeaseReply{First: r.First, Unmet: r.Unmet}, err
	case req.Confirm:
		return LeaseReply{}, nil
	case req.Release != nil:
		r := req.Release
		deadline = start.Add(leaseBudget)
		return LeaseReply{Released: release(ctx, r, deadline)}, nil
	}
	var held, silent []lease.Held
	var err error
	switch req.List {
	case AllLeases:
		held, err = lease.List(deadline)
	case OwnLeases:
		held, err = lease.ListOwn(deadline)
		for _, h := range held {
			if h.Job == "" && h.ID == "" {
				silent = append(silent, h)
			}
		}
		held = slices.DeleteFunc(held, func(h lease.Held) bool { return !h.OwnedBy(req.Job) })
	case "":
		for _, l := range req.Look {
			held = append(held, lease.Held{Protocol: l.Protocol, Port: l.Port})
		}
		held, err = lease.LookAll(held, deadline)
	default:
		return LeaseReply{}, fmt.Errorf("leases can't be selected by %.20q", req.List)
	}
	if err != nil {
		return LeaseReply{}, fmt.Errorf("leases can't be listed: %w", err)
	}
	return LeaseReply{Leases: describeLeases(held, req.Job), Silent: describeLeases(silent, ""), Waited: time.Since(start)}, nil
}

// release ends a lease, and reports whether it is over. Somebody else may end it at the
// same time: its keeper does not answer then for a moment.
func release(ctx context.Context, r *LeasePort, deadline time.Time) bool {
	if r.ID == "" {
		return lease.Release(r.Protocol, r.Port, deadline)
	}
	for asked := false; ; asked = true {
		l, leased := lease.Look(r.Protocol, r.Port, deadline)
		switch {
		case !leased, l.ID != "" && l.ID != r.ID:
			return true
		case asked && l.ID == r.ID:
			return false // its keeper refuses
		case l.ID == r.ID && lease.Release(r.Protocol, r.Port, deadline):
			return true
		case ctx.Err() != nil || time.Now().After(deadline):
			return false
		}
		time.Sleep(time.Millisecond)
	}
}

// Runs reports whether there is a process with which a lease can end.
func Runs(pid int) bool { return lease.Runs(pid) }

// mostDescribed limits the leased ports of an answer that have texts, of those which the
// user that answers may not end: strangers can bind the names of all ports.
const mostDescribed = 4096

// describeLeases returns the leases that ports have, for the job that asks.
func describeLeases(held []lease.Held, job string) []Lease {
	users := map[int]string{}
	all := []Lease{}
	left := mostDescribed
	for _, h := range held {
		l := Lease{Protocol: h.Protocol, Port: h.Port, PID: h.PID, UID: h.UID}
		l.Own = job != "" && h.OwnedBy(job)
		l.Ours = os.Geteuid() == 0 || h.UID == os.Geteuid() // on Windows both are -1
		if !l.Ours {
			left--
		}
		if l.Ours || left >= 0 {
			name, known := users[h.UID]
			if !known && (h.UID >= 0 || h.UID == os.Geteuid()) {
				name, _ = userOf(h.UID) // the uid says as much
				users[h.UID] = name
			}
			l.ID, l.Job, l.App, l.Name, l.Since, l.Expires, l.User = h.ID, h.Job, h.App, h.Lease.Name, h.Since, h.Expires, name
			l.UntilExit = h.UntilExit
		}
		all = append(all, l)
	}
	return all
}

// Executable returns the path of this program.
func Executable() string {
	if path, err := os.Executable(); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return "/proc/self/exe" // also after the file was replaced or removed
}
