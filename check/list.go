package check

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// List returns every listener of a target with all of its holders.
func List(ctx context.Context, t Target, o Options) (Listing, error) {
	r := newRound(t, newPlan(ctx, nil, 1, o))
	defer r.close()
	if err := r.reach(ctx); err != nil {
		return Listing{}, err
	}
	facts, err := r.askListeners(ctx)
	if err != nil {
		return Listing{}, err
	}
	listing := Listing{Version: 1, Targets: []TargetReport{reportTarget(t.Name, facts, nil)}, Sockets: []Holder{}}
	target := &listing.Targets[0]
	for _, g := range facts.Gaps {
		if g.Kind == host.GapHolders || g.Kind == host.GapContainers {
			target.Notices = append(target.Notices, Notice{Code: config.Degraded, Message: gapText(g)})
		}
	}
	listing.Sockets = append(listing.Sockets, listed(facts)...)
	return listing, nil
}

// askListeners asks for every listener with all of its holders. Without the whole table
// it returns an error with what the host has answered.
func (r *round) askListeners(ctx context.Context) (host.Facts, error) {
	req := host.Request{Listeners: true, ShowCommand: r.ShowCommand, Holders: r.holders}
	for _, proto := range port.Protocols {
		req.Tries = append(req.Tries, lookOnly(port.Binding{Protocol: proto}))
	}
	facts, err := r.ask(ctx, req)
	if err == nil {
		err = wholeTable(facts)
	}
	return facts, err
}

// listed returns a row for each holder of each socket, and one for a socket without any.
func listed(facts host.Facts) []Holder {
	var all []Holder
	for _, s := range facts.Sockets {
		if len(s.Holders) == 0 {
			all = append(all, newListed(s, nil, facts.Machine))
		}
		for i := range s.Holders {
			all = append(all, newListed(s, &s.Holders[i], facts.Machine))
		}
	}
	return all
}

func newListed(s host.Socket, p *host.Holder, m host.Machine) Holder {
	h := newHolder(s, p)
	h.Protocol, h.Listed = s.Protocol, &Listed{}
	if s.Addr.Is4() {
		h.Device = s.Device
	}
	if s.Addr == netip.IPv6Unspecified() && !s.MayBeV6Only {
		only := s.V6Only
		h.V6Only = &only
	}
	if p == nil {
		h.Proves = func(config.Owner) bool { return false }
		return h
	}
	h.Names = func() []string { return p.Names }
	h.Unseen = slices.DeleteFunc(slices.Clone(p.Unseen), func(what string) bool { return what == host.ContainerName || what == host.NamesUnseen })
	h.Proves = func(o config.Owner) bool { return !s.MoreHolders && isOwner(o, *p, s, m) == proven }
	return h
}

// lookOnly returns a try that binds nothing: its answer matters only as far as
// the socket table could be read.
func lookOnly(b port.Binding) host.Try { return host.Try{Binding: b, Ports: port.One(1), Look: true} }

// wholeTable returns an error unless every socket table was read to its end. A
// partial table does not show which ports are free.
func wholeTable(f host.Facts) error {
	if !slices.ContainsFunc(f.Tried, func(t host.Tried) bool { return !t.TableOK }) {
		return nil
	}
	return errors.New("the socket table could not be read" + because(f.Gaps, host.GapSockets))
}
