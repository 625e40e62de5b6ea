package host

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/org/portcheck/internal/panics"
	"github.com/org/portcheck/port"
)

const (
	dialTimeout = 5 * time.Second // unless the request says another
	// DialsAtOnce is how many connects are under way at the same time.
	DialsAtOnce = 16
)

// dialAll connects to each remote, and closes the connection at once. What can't
// be done within budget, or before ctx ends, is not tried.
func dialAll(ctx context.Context, dials []Dial, budget time.Duration) []Attempt {
	if budget > 0 {
		if deadline, ok := ctx.Deadline(); ok {
			budget = min(budget, time.Until(deadline)/4*3) // the search for holders may have taken long
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, budget)
		defer cancel()
	}
	all := make([]Attempt, len(dials))
	caught := make([]*panics.Panic, len(dials))
	var wait sync.WaitGroup
	slots := make(chan struct{}, DialsAtOnce)
	for i, d := range dials {
		select {
		case <-ctx.Done():
			all[i] = noTime(d)
			continue
		case slots <- struct{}{}:
		}
		wait.Go(func() {
			defer func() { <-slots }()
			caught[i] = panics.Catch(func() { all[i] = dial(ctx, d) })
		})
	}
	wait.Wait()
	for _, p := range caught {
		p.Repanic()
	}
	return all
}

// noTime returns the attempt for a connect for which there was no time.
func noTime(d Dial) Attempt {
	a := Attempt{Endpoint: port.Endpoint{Protocol: port.TCP, Port: d.Port}, Outcome: NotTried, Op: "connect", Errno: "--timeout leaves too little time"}
	a.Addr, _ = netip.ParseAddr(d.Host)
	return a
}

func dial(ctx context.Context, d Dial) Attempt {
	a := Attempt{Endpoint: port.Endpoint{Protocol: port.TCP, Port: d.Port}, Outcome: OK}
	a.Addr, _ = netip.ParseAddr(d.Host)
	dialer := net.Dialer{Timeout: cmp.Or(d.Timeout, dialTimeout), ControlContext: ControlDial}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(d.Host, strconv.Itoa(int(d.Port))))
	if err == nil {
		if remote, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
			a.Addr = remote.AddrPort().Addr().Unmap()
		}
		_ = conn.Close() // nothing was written
		return a
	}
	// net.Dialer has a timer of its own for the deadline, which may fire before ctx
	// is done.
	if deadline, ok := ctx.Deadline(); ctx.Err() != nil || ok && time.Until(deadline) <= 0 {
		return noTime(d)
	}
	a.Outcome, a.Op = Failed, "connect"
	var refused *RefusedAddressError
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &refused):
		a.Outcome, a.Addr, a.Errno = NotTried, refused.Addr, refused.Error()
		return a
	case errors.As(err, &dns):
		a.Op, a.Errno = "resolve", "temporary failure"
		if dns.IsNotFound {
			a.Errno = "not found"
		} else if dns.IsTimeout {
			a.Errno = "timeout"
		}
		return a
	case errors.As(err, &op) && op.Addr != nil:
		if remote, ok := op.Addr.(*net.TCPAddr); ok {
			a.Addr = remote.AddrPort().Addr().Unmap()
		}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		a.Errno = "ETIMEDOUT"
		return a
	}
	var step *os.SyscallError
	if errors.As(err, &step) {
		a.Op = opName(step.Syscall)
	}
	_, a.Errno = classify(a.Op, err)
	return a
}
