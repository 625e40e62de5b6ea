package check

import (
	"context"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// leased returns the block that the run's job holds for an entry, on all of its targets.
func (x *autoPort) leased(needs []Need) (block port.Range, ok bool) {
	var common port.Bits
	size, any := 0, false
	for r, i := range x.needs {
		var held port.Bits
		for _, h := range needs[i].allHeldBy(r.ownLeases) {
			held.Add(h.Port)
		}
		if !any {
			common, any = held, true
		} else {
			common.Keep(&held)
		}
		size = needs[i].Ports.Len()
	}
	first := common.Next(1)
	if first > port.MaxPort {
		return port.Range{}, false
	}
	return port.Range{First: uint16(first), Last: uint16(first + size - 1)}, true
}

// takeLeased judges the entries for which the run's job holds a port, on that port and
// no other, and returns them. They keep it unless it is not free and they may still wait.
func (a *autos) takeLeased(ctx context.Context, pending []*autoPort) (map[*autoPort]bool, error) {
	batches, own := map[*round]*batch{}, map[*round][]int{}
	blocks, results := map[*autoPort]port.Range{}, map[*autoPort]map[resultKey]*Result{}
	for _, x := range pending {
		block, ok := x.leased(a.needs)
		if !ok {
			continue
		}
		blocks[x], results[x] = block, map[resultKey]*Result{}
		for r, i := range x.needs {
			if batches[r] == nil {
				batches[r] = &batch{Request: host.Request{ShowCommand: r.ShowCommand, Holders: r.holders}}
			}
			own[r] = append(own[r], i)
			n := r.needs[i].at(block)
			for _, proto := range n.Protocols {
				batches[r].try(n.try(proto, false), func(tried host.Tried, f answer) {
					result := r.judge(n, proto, tried, f)
					results[x][resultKey{i, proto}] = &result
				})
			}
		}
	}
	if len(blocks) == 0 {
		return nil, nil
	}
	if _, err := a.exchange(ctx, batches, own); err != nil {
		return nil, err
	}
	leased := map[*autoPort]bool{}
	for x, block := range blocks {
		leased[x] = true
		met := true
		for key, result := range results[x] {
			if !result.Status.OK() {
				result.Auto, met = false, false // there is this port and no other one
			}
			a.byName[a.needs[key.need].Target].keep(key, result)
		}
		if met || x.left(a.needs) <= 0 {
			for _, i := range x.needs {
				a.needs[i].Ports, a.needs[i].chosen = block, true
			}
		}
	}
	return leased, nil
}
