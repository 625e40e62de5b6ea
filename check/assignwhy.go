package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// UnmetError is the error for a need that can't get a port.
type UnmetError struct {
	Need    Need
	Message string // without the need's name and position
	Unknown bool   // whether it could get one was not found out
	// Status is the verdict on its declared port, "" for none. Claimed is set if another need
	// of the run has that port, and Passing if only the last connections of a program do.
	Status           Status
	Claimed, Passing bool
	// Lease is the one that has its declared port, or nil: another job's, or one of the job's
	// own for another need.
	Lease *host.Lease
	// Denied is set if nobody has to end: the app's user may not bind its ports.
	Denied bool
}

func (e UnmetError) Error() string {
	return fmt.Sprintf("%s: %s gets no port: %s", e.Need.At, e.Need.title(), e.Message)
}

// isPassing reports whether only connections in TIME_WAIT have the port of a result.
func (r *Result) isPassing() bool {
	return slices.ContainsFunc(r.Notices, func(n Notice) bool { return n.Code == config.TimeWait })
}

func (n Need) title() string { return titleOf(n.App, n.Name) }

// Title returns the name of the port's need with its app.
func (p AssignedPort) Title() string { return titleOf(p.App, p.Name) }

// titleOf returns the name of a need with its app.
func titleOf(app, name string) string {
	if app != "" {
		return app + "/" + name
	}
	return name
}

// mostOfRequest is how many ports one request asks about. Jobs choose the texts of their
// leases, and the answer has to fit into the 4 MB that a host by SSH may answer.
const mostOfRequest = 1024

// leasesOfOthers returns the leases that other jobs have of the declared ports of some of a
// target's needs, one for each need that has one.
func (a *assignment) leasesOfOthers(ctx context.Context, p *site, some []int) (map[int]*host.Lease, error) {
	wanted := map[host.LeasePort][]int{} // needs of one run may declare the same port
	var ports []host.LeasePort
	for _, i := range some {
		need := a.needs[i]
		for n := range (port.Set{need.Ports}).All {
			for _, proto := range need.Protocols {
				key := host.LeasePort{Protocol: proto, Port: n}
				if wanted[key] == nil {
					ports = append(ports, key)
				}
				wanted[key] = append(wanted[key], i)
			}
		}
	}
	others := map[int]*host.Lease{}
	for part := range slices.Chunk(ports, mostOfRequest) {
		reply, err := p.hold(ctx, host.LeaseRequest{Look: part})
		if err != nil {
			return nil, err
		}
		for _, l := range reply.Leases {
			for _, i := range wanted[host.LeasePort{Protocol: l.Protocol, Port: l.Port}] {
				if !l.Own && others[i] == nil {
					others[i] = &l
				}
			}
		}
	}
	return others, nil
}

// leaseOfOther returns a lease that another job has of a need's declared ports, or nil.
func (a *assignment) leaseOfOther(ctx context.Context, i int) (*host.Lease, error) {
	others, err := a.leasesOfOthers(ctx, a.at[i], []int{i})
	return others[i], err
}

// portLeasedTo says which port a job has leased.
func portLeasedTo(l host.Lease) string {
	return fmt.Sprintf("%s %d is %s", l.Protocol, l.Port, leasedTo(l))
}

// whyUnmet returns the error for a need that gets no port: it says what has its ports.
// The message is empty if nothing has the declared port any more, unless this was the
// last try.
func (a *assignment) whyUnmet(ctx context.Context, i int, lastTry bool) (UnmetError, error) {
	n := a.needs[i]
	unmet := UnmetError{Need: n}
	if !n.Auto {
		var err error
		if unmet.Lease, err = a.leaseOfOther(ctx, i); err != nil {
			return unmet, err
		}
		if unmet.Lease != nil {
			unmet.Message = portLeasedTo(*unmet.Lease)
		} else {
			results, err := a.judge(ctx, a.at[i], []int{i}, nil)
			if err != nil {
				return unmet, err
			}
			for _, r := range results[i] {
				if !r.Status.OK() {
					unmet.Message = r.Message
					unmet.Status, unmet.Passing, unmet.Denied = r.Status, r.isPassing(), r.Status == Denied
				}
			}
		}
		switch j, own := a.claimant(i), a.ownLease(i); {
		case unmet.Message != "":
		case j < 0 && own != nil:
			unmet.Message, unmet.Lease = ownText(own), own
		case j >= 0:
			unmet.Message, unmet.Claimed = a.claimText(i, j), true
		case !lastTry:
			return unmet, nil
		default:
			unmet.Message = fmt.Sprintf("%s is free, but could not be leased: another job had it for a moment, or a program that is not portcheck uses the name by which portcheck marks a leased port (as root, `ss -xap | grep portcheck/1/` shows it)", n.Ports)
		}
	}
	if len(n.Range) == 0 {
		return unmet, nil
	}
	who, denied, err := a.whoHas(ctx, a.at[i], n)
	if err != nil {
		return unmet, err
	}
	unmet.Denied = denied && (n.Auto || unmet.Status == Denied)
	if unmet.Message != "" {
		unmet.Message += ", and "
	}
	what := "port"
	if size := n.Ports.Len(); size > 1 {
		what = fmt.Sprintf("block of %d ports", size)
	}
	unmet.Message += fmt.Sprintf("no %s of its range %s is free", what, clip(n.Range.String(), 100))
	if len(a.of[i].needs) > 1 {
		unmet.Message += " on all of its targets"
	}
	if who != "" {
		unmet.Message += ": " + who
	}
	return unmet, nil
}

// claimText says that another need of the run has the declared ports of a need.
func (a *assignment) claimText(i, claimant int) string {
	return fmt.Sprintf("%s, another need of this run, has %s", a.needs[claimant].title(), a.needs[i].Ports)
}

// claimant returns another need of the run that declares a port of a need, or -1.
func (a *assignment) claimant(i int) int {
	n := a.needs[i]
	for j, o := range a.needs {
		shared := slices.ContainsFunc(o.Protocols, func(p port.Protocol) bool { return slices.Contains(n.Protocols, p) })
		if j == i || a.at[j] != a.at[i] || !shared {
			continue
		}
		// An auto leaves out what others declare.
		if !o.Auto && o.Ports.First <= n.Ports.Last && n.Ports.First <= o.Ports.Last {
			return j
		}
	}
	return -1
}

// whoHas describes the leases and the processes that have ports of a need's range, and
// those that its app may not bind. It reports whether these are all that there is to say.
func (a *assignment) whoHas(ctx context.Context, at *site, n Need) (who string, denied bool, err error) {
	r := newRound(at.Shared(), newPlan(ctx, []Need{n}, 1, a.Options))
	if err := r.reach(ctx); err != nil {
		return "", false, err
	}
	b, left := &batch{}, host.MostEndpoints
	for _, part := range n.Range {
		for _, proto := range n.Protocols {
			try := lookOnly(n.Binding(proto))
			try.Ports = part
			if left -= part.Len() * len(try.At(part.First)); left >= 0 {
				b.try(try, func(host.Tried, answer) {})
			}
		}
	}
	facts, err := r.ask(ctx, b.Request)
	if err != nil {
		return "", false, err
	}
	reply, err := at.hold(ctx, host.LeaseRequest{List: host.AllLeases})
	if err != nil {
		return "", false, err
	}
	jobs, count := []string{}, map[string]int{}
	keepers := map[int]bool{}
	for _, h := range reply.Leases {
		keepers[h.PID] = true
		if !slices.Contains(n.Protocols, h.Protocol) || !n.Range.Contains(h.Port) {
			continue
		}
		to := leasedTo(h)
		if count[to]++; count[to] == 1 {
			jobs = append(jobs, to)
		}
	}
	var parts []string
	for k, to := range jobs {
		if k == describedJobs {
			parts = append(parts, fmt.Sprintf("leases of %d more jobs", len(jobs)-k))
			break
		}
		parts = append(parts, fmt.Sprintf("%s %s", Counted(count[to], "port"), to))
	}
	sockets := slices.DeleteFunc(facts.Sockets, func(s host.Socket) bool {
		return !holdsPort(s) || slices.ContainsFunc(s.Holders, func(h host.Holder) bool { return keepers[h.PID] })
	})
	if len(sockets) > 0 {
		ports := port.Bits{}
		total := 0
		for _, s := range sockets {
			if !ports.Has(s.Port) {
				total++
			}
			ports.Add(s.Port)
		}
		parts = append(parts, fmt.Sprintf("%s held by %s", Counted(total, "port"), describeAll(sockets)))
	}
	if few := n.Range.Without(func(p uint16) bool { return int(p) >= facts.Limits.UnprivilegedFrom }); len(few) > 0 && n.RunAs == "" && !facts.Machine.Elevated {
		count := 0
		for range few.All {
			count++
		}
		denied = len(parts) == 0
		parts = append(parts, fmt.Sprintf("%s denied to %s, since %s", Counted(count, "port"), n.user(), privilegeText(facts)))
	}
	return strings.Join(parts, "; "), denied, nil
}

// describedJobs is how many jobs an error names.
const describedJobs = 3
