package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/panics"
)

// diary is a Progress that records each call as a line.
type diary []string

func (d *diary) Started(target string) { *d = append(*d, target+" started") }

func (d *diary) Waiting(r Result, left time.Duration) {
	*d = append(*d, fmt.Sprintf("%s waits for %s, %.0fm: %s", r.Target, r.Name, left.Minutes(), r.Message))
}

func (d *diary) Done(target string, s Summary, err error) {
	line := fmt.Sprintf("%s done: %d of %d", target, s.OK, s.Checked)
	if err != nil {
		line += ": " + err.Error()
	}
	*d = append(*d, line)
}

// fleet counts how many of its hosts are busy, open and closed.
type fleet struct {
	mu           sync.Mutex
	busy, most   int
	open, closed int
	full         chan struct{} // closed as soon as size hosts are busy
	size         int
}

func newFleet(size int) *fleet { return &fleet{size: size, full: make(chan struct{})} }

// work keeps a host busy until size hosts are busy.
func (f *fleet) work(ctx context.Context) error {
	f.mu.Lock()
	f.busy++
	f.most = max(f.most, f.busy)
	if f.busy == f.size {
		select {
		case <-f.full:
		default:
			close(f.full)
		}
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.busy--
		f.mu.Unlock()
	}()
	select {
	case <-f.full:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(10 * time.Second):
		return errors.New("too few at the same time")
	}
}

// member is a host of a fleet.
type member struct {
	host.Host
	*fleet
}

func (m member) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed++
	return nil
}

// target returns a target of the fleet that opens h.
func (f *fleet) target(name string, h host.Host) Target {
	return Target{Name: name, Open: func(ctx context.Context) (host.Host, error) {
		f.mu.Lock()
		f.open++
		f.mu.Unlock()
		return member{h, f}, nil
	}}
}

// many returns n targets of the fleet, and a need on each.
func (f *fleet) many(n int, h func(i int) host.Host, changes ...func(*Need)) ([]Need, []Target) {
	var needs []Need
	var targets []Target
	for i := range n {
		name := fmt.Sprintf("app%d", i)
		needs = append(needs, needOf("a.yml", "x", append(changes, onTarget(name))...))
		targets = append(targets, f.target(name, h(i)))
	}
	return needs, targets
}

func TestParallelBoundsTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const parallel = 4
		for name, busy := range map[string]func(*fleet, Target) Target{
			"opening": func(f *fleet, target Target) Target {
				return Target{Name: target.Name, Open: func(ctx context.Context) (host.Host, error) {
					if err := f.work(ctx); err != nil {
						return nil, err
					}
					return target.Open(ctx)
				}}
			},
			"probing": func(f *fleet, target Target) Target {
				return f.target(target.Name, &sim{before: func(ctx context.Context, _ int) error { return f.work(ctx) }})
			},
			"looking for alternatives": func(f *fleet, target Target) Target {
				return f.target(target.Name, &sim{taken: set(t, "8080"), before: func(ctx context.Context, asked int) error {
					if asked == 1 {
						return nil
					}
					return f.work(ctx)
				}})
			},
		} {
			f := newFleet(parallel)
			needs, targets := f.many(20, func(int) host.Host { return &sim{} }, inRange("9000-9009"))
			for i := range targets {
				targets[i] = busy(f, targets[i])
			}
			r := run(t, needs, Options{Parallel: parallel, Alternatives: 1}, targets...)
			if f.most != parallel || r.Summary.Unknown > 0 {
				t.Errorf("%s: %d at once, want %d: %+v", name, f.most, parallel, r.Summary)
			}
			for i, x := range r.Results {
				if x.Target != needs[i].Target || r.Targets[i].Name != x.Target {
					t.Fatalf("%s: wrong order: result %d is for %s, and the target is %s", name, i, x.Target, r.Targets[i].Name)
				}
			}
		}
	})
}

func TestWaitingTargetsLendTheirSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done atomic.Int32
		f := newFleet(0)
		leaves := func() *sim {
			s := &sim{taken: set(t, "8080")}
			s.before = func(context.Context, int) error {
				if done.Load() == 6 {
					s.taken = nil // only after all other targets were probed
				}
				return nil
			}
			return s
		}
		needs, targets := f.many(10, func(i int) host.Host {
			if i < 4 {
				return leaves()
			}
			return &sim{before: func(context.Context, int) error { done.Add(1); return nil }}
		}, func(n *Need) { n.Wait = time.Minute })
		start := time.Now()
		if r := run(t, needs, Options{Parallel: 2}, targets...); !r.OK || time.Since(start) > 10*time.Second {
			t.Errorf("after %s: %+v", time.Since(start), r.Summary)
		}
	})
}

func TestOpeningAndProbingHaveOneBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const budget = 400 * time.Millisecond
		r := run(t, []Need{needOf("a.yml", "x"), needOf("a.yml", "y", onTarget("slow"))}, Options{Timeout: budget, Parallel: 2},
			Target{Name: "local", Open: func(ctx context.Context) (host.Host, error) {
				<-ctx.Done()
				return nil, fmt.Errorf("connect: %w", ctx.Err())
			}},
			Target{Name: "slow", Open: func(ctx context.Context) (host.Host, error) {
				deadline, _ := ctx.Deadline()
				time.Sleep(time.Until(deadline) / 2)
				return &sim{before: func(ctx context.Context, _ int) error {
					if later, _ := ctx.Deadline(); later.Sub(deadline) > budget/4 {
						t.Errorf("probing may last until %s, want %s", later, deadline)
					}
					return hang(ctx, 0)
				}}, nil
			}})
		for i, want := range []string{"the target could not be reached within 400ms (--timeout): connect: context deadline exceeded", "no answer within 400ms (--timeout)"} {
			if x := r.Results[i]; x.Status != Unknown || !strings.HasSuffix(x.Message, want) {
				t.Errorf("%s, want %q", x.Message, want)
			}
		}
	})
}

// The timeout of a single step is not reported as the target's timeout.
func TestATimeoutOnTheWayIsNotTheTargets(t *testing.T) {
	for _, timeout := range []time.Duration{time.Minute, 0} {
		r := run(t, []Need{needOf("a.yml", "x")}, Options{Timeout: timeout}, Target{Name: "local", Open: func(context.Context) (host.Host, error) {
			return nil, fmt.Errorf("handshake: %w", context.DeadlineExceeded)
		}})
		if x := r.Results[0]; !strings.HasSuffix(x.Message, "could not be checked: handshake: context deadline exceeded") {
			t.Errorf("%s", x.Message)
		}
	}
}

func TestAllThatWasOpenedIsClosed(t *testing.T) {
	f := newFleet(0)
	needs, targets := f.many(20, func(int) host.Host { return &sim{taken: set(t, "8080")} }, inRange("9000-9009"))
	targets[3] = unreachable("app3", "no route")
	run(t, needs, Options{Parallel: 4, Alternatives: 1}, targets...)
	if f.open != 19 || f.closed != 19 {
		t.Errorf("%d opened, %d closed", f.open, f.closed)
	}

	f = newFleet(0)
	ctx, cancel := context.WithCancel(context.Background())
	var asked atomic.Int32
	needs, targets = f.many(20, func(int) host.Host {
		return &sim{before: func(ctx context.Context, _ int) error {
			if asked.Add(1) == 6 {
				cancel()
			}
			return ctx.Err()
		}}
	})
	if _, err := Run(ctx, needs, targets, Options{Parallel: 4}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if f.open == 0 || f.open == 20 || f.closed != f.open {
		t.Errorf("cancelled: %d opened, %d closed", f.open, f.closed)
	}

	f = newFleet(0)
	needs, targets = f.many(20, func(i int) host.Host {
		return &sim{before: func(context.Context, int) error {
			if i == 5 {
				panic("boom")
			}
			return nil
		}}
	})
	bug := panics.Catch(func() { _, _ = Run(context.Background(), needs, targets, Options{Parallel: 4}) })
	if bug == nil || bug.String() != "boom" || f.closed != 20 {
		t.Errorf("a panic: %v; %d closed", bug, f.closed)
	}

	f = newFleet(0)
	_, _, _ = FreePorts(context.Background(), needOf("", "free", inRange("9000-9009")), f.target("local", &sim{}), Options{Alternatives: 1})
	_, _ = List(context.Background(), f.target("local", canned{}), Options{})
	if f.open != 2 || f.closed != 2 {
		t.Errorf("free and list: %d opened, %d closed", f.open, f.closed)
	}
}

func TestProgressCoversEveryTarget(t *testing.T) {
	needs := []Need{
		needOf("a.yml", "x", onTarget("one")), needOf("a.yml", "y", onTarget("one"), ports(8081, 8081)),
		needOf("a.yml", "x", onTarget("two")),
		needOf("a.yml", "x", onTarget("three")), needOf("a.yml", "y", onTarget("three")), // both need 8080
	}
	var got diary
	r := run(t, needs, Options{Parallel: 3, Progress: &got}, targetOf("one", &sim{taken: set(t, "8080")}), unreachable("two", "connect: refused"), targetOf("three", &sim{}))
	slices.Sort(got)
	want := diary{"one done: 1 of 2", "one started", "three done: 0 of 2", "three started", "two done: 0 of 1: connect: refused", "two started"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if r.Summary.OK != 1 {
		t.Errorf("the report differs from the progress: %+v", r.Summary)
	}
}
