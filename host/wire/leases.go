package wire

import (
	"context"
	"slices"
	"time"

	"github.com/org/portcheck/host"
)

// leases are those that a client has started. They end with its connection unless it
// has confirmed them.
type leases struct {
	host    host.Host
	pending []host.LeasePort // a port of each lease that is not confirmed
	locks   []string         // the tokens of jobs that it has locked
}

// hold does an operation on leases.
func (l *leases) hold(ctx context.Context, req host.LeaseRequest) (host.LeaseReply, error) {
	reply, err := host.Hold(ctx, l.host, req)
	if err != nil {
		return reply, err
	}
	switch {
	case req.Lock != nil && !reply.Busy:
		l.locks = append(l.locks, req.Lock.Token)
	case req.Unlock != "":
		l.locks = slices.DeleteFunc(l.locks, func(token string) bool { return token == req.Unlock })
	case req.Start != nil && len(reply.First) > 0:
		l.pending = append(l.pending, host.LeasePort{Protocol: req.Start.Wants[0].Protocols[0], Port: reply.First[0], ID: req.Start.ID})
	case req.Confirm:
		l.pending = nil
	case req.Release != nil:
		l.pending = slices.DeleteFunc(l.pending, func(p host.LeasePort) bool { return p == *req.Release })
	}
	return reply, nil
}

// endTime limits how long the keepers may take to end.
const endTime = 2 * time.Second

// end ends the leases that are not confirmed.
func (l *leases) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	for _, p := range l.pending {
		_, _ = host.Hold(ctx, l.host, host.LeaseRequest{Release: &p}) // they have a deadline, too
	}
	for _, token := range l.locks {
		_, _ = host.Hold(ctx, l.host, host.LeaseRequest{Unlock: token}) // it ends with this process, too
	}
}
