package lease

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

const (
	mostRequest = 16 << 20        // bytes of a Request
	recheck     = 5 * time.Minute // timers stand still while a machine is suspended
)

// Keep reads a Request, takes its ports, and writes a Reply. Then it holds the ports
// until the lease ends. Both streams are of the process that started it, and are not
// used after the reply: detach is called then.
func Keep(ctx context.Context, in io.Reader, out io.Writer, detach func() error) error {
	k := &keeper{since: time.Now()}
	begun := sinceBoot()
	limited := &io.LimitedReader{R: in, N: mostRequest}
	if err := json.NewDecoder(limited).Decode(&k.request); err != nil {
		err = fmt.Errorf("the request can't be read: %w", err)
		if limited.N <= 0 {
			err = fmt.Errorf("the request is larger than %d MiB: assign fewer needs at once, or give them a range with fewer gaps", mostRequest>>20)
		}
		_ = json.NewEncoder(out).Encode(Reply{Error: err.Error()}) // else the exit code shows it
		return err
	}
	lifetime := k.request.Lifetime
	if lifetime == 0 {
		lifetime = k.request.Expires.Sub(k.since.Round(0))
	}
	k.begun, k.ends = begun, begun+lifetime
	reply, err := k.begin(ctx)
	if err != nil {
		reply = Reply{Error: err.Error()}
	}
	if failed := json.NewEncoder(out).Encode(reply); err == nil {
		err = failed
	}
	if err != nil || reply.Unmet != nil {
		return err
	}
	if err := detach(); err != nil {
		return err
	}
	return k.serve(ctx)
}

// begin takes the ports and makes them a lease.
func (k *keeper) begin(ctx context.Context) (Reply, error) {
	for i, w := range k.request.Wants {
		if w.Length < 1 || len(w.Protocols) == 0 {
			return Reply{}, fmt.Errorf("want %d of the request has no ports", i)
		}
	}
	if err := k.prepare(); err != nil {
		return Reply{}, err
	}
	first, unmet, err := k.choose(ctx, k.request.Wants)
	if err != nil {
		return Reply{}, err
	}
	if unmet >= 0 {
		return Reply{Unmet: &unmet}, nil
	}
	k.taken = nil
	if err := k.publish(); err != nil {
		return Reply{}, err
	}
	return Reply{First: first}, nil
}

// leaseOf returns what the keeper says about one of its locks.
func (k *keeper) leaseOf(l lock) Lease {
	r := k.request
	since, expires := k.byClock()
	return Lease{ID: Name(r.ID), Job: Name(r.Job), App: Name(r.App), Name: Name(r.Wants[l.want].Name), Since: since, Expires: expires, UntilExit: r.UntilExit}
}

// byClock returns since when the lease is there and when it ends, by the clock as it is
// set now. Small differences are left out, so that a lease does not seem to change.
func (k *keeper) byClock() (since, expires time.Time) {
	const small = 5 * time.Second
	since, expires = k.since, k.request.Expires
	now, at := time.Now().Round(0), sinceBoot()
	if began := now.Add(k.begun - at); began.Sub(since.Round(0)).Abs() > small {
		since = began
	}
	if end := now.Add(k.ends - at); end.Sub(expires).Abs() > small {
		expires = end
	}
	return since, expires
}

// left returns how long the keeper may sleep, which is not above 0 if the lease has
// ended.
func (k *keeper) left() time.Duration {
	return min(k.ends-sinceBoot(), recheck)
}
