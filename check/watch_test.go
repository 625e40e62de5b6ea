package check

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// changing is a host on which listeners come and go. The test has it, and all that it
// shares with the watch, except while it rests.
type changing struct {
	mu      sync.Mutex
	listens map[uint16]host.Socket
	inodes  uint64
	down    error // of every probe and open
	unread  bool  // the socket table can't be read
	opened  int
	asked   []host.Request
	keep    bool // asked
}

func newChanging() *changing {
	c := &changing{listens: map[uint16]host.Socket{}}
	c.mu.Lock()
	return c
}

// rest lets the watch go on for some time.
func (c *changing) rest(d time.Duration) {
	c.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	c.mu.Lock()
}

// start lets a program listen on a port of all addresses.
func (c *changing) start(n uint16, program string) {
	c.inodes++
	c.listens[n] = host.Socket{
		Endpoint: port.Endpoint{Protocol: port.TCP, Addr: netip.IPv6Unspecified(), Port: n}, State: host.Listen, Inode: c.inodes, Complete: true,
		Holders: []host.Holder{{PID: int(c.inodes) + 1000, Process: program, Executable: "/usr/bin/" + program, UID: 0, User: "root"}},
	}
}

func (c *changing) stop(n uint16) { delete(c.listens, n) }

func (c *changing) target(name string) Target {
	return Target{Name: name, Open: func(context.Context) (host.Host, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.opened++; c.down != nil {
			return nil, c.down
		}
		return c, nil
	}}
}

func (*changing) Close() error { return nil }

// Probe answers a request. Every remote is silent.
func (c *changing) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	for _, d := range req.Dials {
		select {
		case <-ctx.Done():
			return host.Facts{}, ctx.Err()
		case <-time.After(d.Timeout):
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keep {
		c.asked = append(c.asked, req)
	}
	if c.down != nil {
		return host.Facts{}, c.down
	}
	f := machine()
	if c.unread {
		f.Gaps = append(f.Gaps, host.Gap{What: "the table can't be read", Op: "read", Errno: "EIO", Kind: host.GapSockets})
	}
	if req.Survey != nil {
		f.Surveyed = &host.Surveyed{Whole: !c.unread}
		if c.unread {
			return f, nil
		}
		var all []host.Socket
		for _, s := range c.listens {
			s.Holders, s.Complete = nil, false
			all = append(all, s)
		}
		digests := host.Digests(all)
		for part, digest := range digests {
			if len(req.Survey.Known) == 0 || req.Survey.Known[part] != digest {
				f.Surveyed.Changed = append(f.Surveyed.Changed, part)
			}
		}
		for _, s := range all {
			if slices.Contains(f.Surveyed.Changed, host.PartOf(s.Port)) {
				f.Sockets = append(f.Sockets, s)
			}
		}
		return f, nil
	}
	for _, d := range req.Dials {
		f.Dialed = append(f.Dialed, dialed(d.Port, "failed connect ETIMEDOUT"))
	}
	for _, try := range req.Tries {
		tried := host.Tried{TableOK: !c.unread}
		for p := range (port.Set{try.Ports}).All {
			s, taken := c.listens[p]
			for _, e := range try.At(p) {
				a := host.Attempt{Endpoint: e, Outcome: host.OK}
				switch {
				case try.Look:
					a.Outcome = host.NotTried
				case taken:
					a.Outcome, a.Op, a.Errno = host.InUse, "bind", "EADDRINUSE"
				}
				tried.Attempts = append(tried.Attempts, a)
			}
			if taken && !c.unread {
				f.Sockets = append(f.Sockets, s)
			}
		}
		f.Tried = append(f.Tried, tried)
	}
	if req.Listeners && !c.unread {
		f.Sockets = nil
		for _, s := range c.listens {
			f.Sockets = append(f.Sockets, s)
		}
	}
	return f, nil
}

// watchFor watches a target for some time, a round each second.
func watchFor(t *testing.T, d time.Duration, c *changing, needs []Need, target Target, observe func(Observation)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	done := make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, needs, []Target{target}, WatchOptions{Options: Options{Timeout: 30 * time.Second}, Interval: time.Second, Observe: func(o Observation) {
			c.mu.Lock()
			defer c.mu.Unlock()
			observe(o)
		}})
	}()
	return func() {
		c.mu.Unlock()
		defer c.mu.Lock()
		cancel()
		<-done
	}
}

func line(e Event) string {
	name := func(holders []Holder) string {
		if len(holders) == 0 {
			return "-"
		}
		return holders[0].Process
	}
	if e.OfNeed() {
		return fmt.Sprintf("%s %s", e.Event, e.Need)
	}
	return fmt.Sprintf("%s %d %s<%s", e.Event, e.Port, name(e.Holders), name(e.Before))
}

func expectLines(t *testing.T, what string, got *[]string, want ...string) {
	t.Helper()
	if !slices.Equal(*got, want) {
		t.Errorf("%s: %q, want %q", what, *got, want)
	}
	*got = nil
}

func webNeed(n uint16) Need {
	return Need{App: "shop", Target: "local", Port: config.Port{
		Name: "web", Protocols: []port.Protocol{port.TCP}, Addresses: []port.Address{port.Any}, Ports: port.One(n), Expect: config.Free, Severity: config.SeverityError,
	}}
}

// TestWatchTellsChanges checks which changes are told, with the holders now and before.
func TestWatchTellsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChanging()
		c.start(22, "sshd")
		var got []string
		stop := watchFor(t, time.Hour, c, []Need{webNeed(80)}, c.target("local"), func(o Observation) {
			for _, e := range o.Events {
				got = append(got, line(e))
			}
		})
		defer stop()
		c.rest(1500 * time.Millisecond)
		expectLines(t, "what is there at the start is no change", &got, "met shop/web@local/tcp")
		c.start(80, "nginx")
		c.rest(time.Second)
		expectLines(t, "taken", &got, "taken 80 nginx<-", "unmet shop/web@local/tcp")
		c.start(80, "nginx")
		c.rest(time.Second)
		expectLines(t, "another process of the same program", &got)
		c.start(80, "haproxy")
		c.rest(time.Second)
		expectLines(t, "changed hands", &got, "changed 80 haproxy<nginx")
		c.start(90, "a")
		c.start(70, "b")
		c.stop(80)
		c.rest(time.Second)
		expectLines(t, "in the order of ports", &got, "taken 70 b<-", "freed 80 -<haproxy", "taken 90 a<-", "met shop/web@local/tcp")
		s := c.listens[90]
		s.Holders, s.Complete, s.Inode = nil, false, 12345
		c.listens[90] = s
		c.rest(time.Second)
		expectLines(t, "a holder that can't be seen is not known to be another", &got)
		c.start(90, "a")
		c.rest(time.Second)
		expectLines(t, "nor is the one before", &got)
	})
}

// TestWatchBesideSilentRemotes checks that listeners that come and go are told while a
// connect to a remote gets no answer, and that the need is judged at the end.
func TestWatchBesideSilentRemotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChanging()
		remote := reaching(5432, 0)
		remote.Target, remote.ConnectTimeout = "local", 15*time.Second
		var got []string
		stop := watchFor(t, time.Hour, c, []Need{webNeed(80), remote}, c.target("local"), func(o Observation) {
			for _, e := range o.Events {
				got = append(got, line(e))
			}
		})
		defer stop()
		c.rest(2500 * time.Millisecond)
		expectLines(t, "the start", &got, "met shop/web@local/tcp")
		c.start(80, "nginx")
		c.rest(2 * time.Second)
		c.stop(80)
		c.rest(2 * time.Second)
		expectLines(t, "beside the connect", &got, "taken 80 nginx<-", "unmet shop/web@local/tcp", "freed 80 -<nginx", "met shop/web@local/tcp")
		c.rest(15 * time.Second)
		expectLines(t, "after the connect", &got, "unmet "+remote.ID(port.TCP))
	})
}

// TestWatchTellsNothingFalse checks targets that can't be asked for a while: nothing is
// freed then, needs are unknown, and what has changed is told when they can be asked again.
func TestWatchTellsNothingFalse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, way := range []string{"gone", "unread"} {
			c := newChanging()
			c.start(22, "sshd")
			c.start(80, "nginx")
			c.start(443, "nginx")
			need := webNeed(80)
			need.Expect = config.Listening
			var got []string
			var last Observation
			failures, rounds := 0, 0
			stop := watchFor(t, time.Hour, c, []Need{need}, c.target("local"), func(o Observation) {
				last = o
				if rounds++; o.Err != nil {
					failures++
				}
				for _, e := range o.Events {
					got = append(got, line(e))
				}
			})
			c.rest(5500 * time.Millisecond)
			expectLines(t, way, &got, "met shop/web@local/tcp")
			if way == "gone" {
				c.down = errors.New("the connection is closed")
			} else {
				c.unread = true
			}
			c.stop(443)
			c.start(80, "haproxy")
			c.start(90, "a")
			c.rest(30 * time.Second)
			expectLines(t, way+", while it is down", &got)
			if r := last.Results[0]; failures == 0 || r.Status != Unknown || r.OK || last.Listeners != nil {
				t.Errorf("%s: %d failures, the need is %s, %v listeners", way, failures, r.Status, last.Listeners)
			}
			if failures > 10 {
				t.Errorf("%s: %d attempts in 30 s", way, failures)
			}
			c.down, c.unread = nil, false
			c.rest(2 * time.Minute)
			expectLines(t, way+", afterwards", &got, "changed 80 haproxy<nginx", "taken 90 a<-", "freed 443 -<nginx")
			if last.Err != nil || last.Results[0].Status != Listening || last.Listeners[port.TCP] != 3 {
				t.Errorf("%s: %v, %v, %v", way, last.Err, last.Results[0].Status, last.Listeners)
			}
			stop()
		}
	})
}

// TestWatchOpensAClosedConnectionAtOnce checks that the end of a helper is no outage.
func TestWatchOpensAClosedConnectionAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChanging()
		stop := watchFor(t, time.Hour, c, nil, Target{Name: "local", Open: func(context.Context) (host.Host, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.opened++
			return &mortal{c, 10}, nil
		}}, func(o Observation) {
			if o.Err != nil || len(o.Events) > 0 {
				t.Errorf("%v, %v", o.Err, o.Events)
			}
		})
		c.rest(100 * time.Second)
		stop()
		if c.opened < 10 {
			t.Errorf("opened %d times", c.opened)
		}
	})
}

// mortal is a host whose connection ends after some answers.
type mortal struct {
	host.Host
	left int
}

func (m *mortal) Probe(ctx context.Context, req host.Request) (host.Facts, error) {
	if m.left--; m.left < 0 {
		return host.Facts{}, errors.New("the probe ended without an answer")
	}
	return m.Host.Probe(ctx, req)
}

// TestWatchMissesNothing makes 1,000 changes in 10 seconds, each by another program. What
// has lasted longer than an interval is told once, in order.
func TestWatchMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChanging()
		told, now := map[string]int{}, map[uint16]string{}
		var lastTime time.Time
		stop := watchFor(t, time.Hour, c, nil, c.target("local"), func(o Observation) {
			for _, e := range o.Events {
				before, after := "", ""
				if len(e.Before) > 0 {
					before = e.Before[0].Process
				}
				if len(e.Holders) > 0 {
					after = e.Holders[0].Process
					told[after]++
				}
				if e.Time.Before(lastTime) || before != now[e.Port] {
					t.Errorf("out of order: %s at %s", line(e), e.Time)
				}
				lastTime, now[e.Port] = e.Time, after
			}
		})
		c.rest(time.Second / 2)
		random := rand.New(rand.NewPCG(1, 2))
		started, lasted := map[uint16]time.Time{}, map[string]time.Duration{}
		for i := range 1000 {
			c.rest(10 * time.Millisecond)
			n := uint16(1000 + random.IntN(300))
			if s, taken := c.listens[n]; taken {
				c.stop(n)
				lasted[s.Holders[0].Process] = time.Since(started[n])
			} else {
				c.start(n, fmt.Sprint("program", i))
				started[n] = time.Now()
			}
		}
		c.rest(3 * time.Second)
		for n, s := range c.listens {
			lasted[s.Holders[0].Process] = time.Since(started[n])
			if now[n] != s.Holders[0].Process {
				t.Errorf("port %d is that of %q at the end, not of %s", n, now[n], s.Holders[0].Process)
			}
		}
		for n, program := range now {
			if _, taken := c.listens[n]; program != "" && !taken {
				t.Errorf("port %d is that of %s at the end, not free", n, program)
			}
		}
		stop()
		for program, d := range lasted {
			if n := told[program]; n > 1 || n == 0 && d > time.Second {
				t.Errorf("%s listened for %s and was told %d times", program, d, n)
			}
		}
		if len(lasted) < 400 {
			t.Errorf("%d programs", len(lasted))
		}
	})
}

// TestWatchAsksLittle checks what quiet rounds ask: a survey, and the needs now and then.
func TestWatchAsksLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChanging()
		c.keep = true
		c.start(80, "nginx")
		free, taken := webNeed(8080), webNeed(80)
		taken.Name = "taken"
		stop := watchFor(t, 10*time.Minute, c, []Need{free, taken}, c.target("local"), func(Observation) {})
		c.rest(2 * time.Minute)
		c.asked = nil
		c.rest(5 * time.Minute)
		surveys, tries := 0, 0
		for _, req := range c.asked {
			if req.Survey != nil {
				surveys++
			}
			tries += len(req.Tries)
		}
		if surveys < 299 || surveys > 301 || tries > 2*11 {
			t.Errorf("%d surveys, %d tries", surveys, tries)
		}
		c.asked = nil
		c.start(8080, "a")
		c.start(9090, "a")
		c.rest(1100 * time.Millisecond)
		stop()
		var ports []string
		for _, req := range c.asked {
			for _, try := range req.Tries {
				ports = append(ports, fmt.Sprint(try.Ports, " ", try.Look))
			}
		}
		// The holders of the two, and the need on the one.
		if got := strings.Join(ports, ", "); !strings.HasPrefix(got, "8080 true, 9090 true, 8080 false") {
			t.Errorf("asked about %s", got)
		}
	})
}

// TestWatchStaysSmall makes many rounds with changes: memory and goroutines stay what
// they are.
func TestWatchStaysSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChanging()
		state := NewWatching("test", []Need{webNeed(80)}, []Target{{Name: "local"}})
		rounds := 0
		stop := watchFor(t, 7*time.Hour, c, []Need{webNeed(80)}, c.target("local"), func(o Observation) {
			state.Add(o, func(Listing) map[ChangeKind]int { return nil })
			rounds++
			if n := uint16(1000 + rounds%1000); rounds%2 == 0 {
				c.start(n, "a")
			} else {
				c.stop(n - 1)
			}
		})
		measure := func() (uint64, int) {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc, runtime.NumGoroutine()
		}
		c.rest(1000 * time.Second)
		memory, goroutines := measure()
		c.rest(20000 * time.Second)
		later, more := measure()
		stop()
		if rounds < 20000 || more > goroutines || later > memory+1<<20 {
			t.Errorf("after %d rounds: %d bytes instead of %d, %d goroutines instead of %d", rounds, later, memory, more, goroutines)
		}
	})
}
