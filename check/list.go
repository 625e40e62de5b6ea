package check

import (
	"context"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
)

// List names every listener of a target and all of its holders.
func List(ctx context.Context, t Target, o Options) (Listing, error) {
	r := newRound(t, nil, o)
	facts, err := r.ask(ctx, host.Request{Listeners: true, ShowCommand: o.ShowCommand})
	if err != nil {
		return Listing{}, err
	}
	listing := Listing{Version: 1, Targets: []TargetReport{reportTarget(t.Name, facts, nil)}, Sockets: []Holder{}}
	target := &listing.Targets[0]
	for _, g := range facts.Gaps {
		if g.Holders {
			target.Notices = append(target.Notices, Notice{config.Degraded, gapText(g)})
		}
	}
	for _, s := range facts.Sockets {
		if len(s.Holders) == 0 {
			h := newHolder(s, nil)
			h.Protocol = s.Protocol
			listing.Sockets = append(listing.Sockets, h)
		}
		for _, p := range s.Holders {
			h := newHolder(s, &p)
			h.Protocol = s.Protocol
			listing.Sockets = append(listing.Sockets, h)
		}
	}
	return listing, nil
}
