package check

import (
	"context"
	"fmt"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// mayHold reports whether the run's job may hold another port for an unmet need.
func (r *round) mayHold(results map[resultKey]*Result) bool {
	if r.jobOf(r.Options) == "" || r.host == nil || r.assigning {
		return false
	}
	for i, n := range r.needs {
		for _, proto := range n.Protocols {
			if n.Target == r.Name && n.unmetResult(i, proto, results) != nil {
				return true
			}
		}
	}
	return false
}

// unmetResult returns the result of a need for a free port that is not met, or nil.
func (n Need) unmetResult(i int, proto port.Protocol, results map[resultKey]*Result) *Result {
	result := results[resultKey{i, proto}]
	if n.Auto || n.Expect != config.Free || result == nil || !movable(result) {
		return nil
	}
	return result
}

// mentionHeld adds to unmet needs the other ports that the run's job holds for them: the
// app is to use these, so they are the first alternatives.
func (r *round) mentionHeld(ctx context.Context, results map[resultKey]*Result) {
	if !r.wantsOwn {
		return
	}
	if !r.knowsOwn { // there was no request for alternatives
		req := host.LeaseRequest{List: host.OwnLeases, Job: r.jobOf(r.Options), Budget: r.keepers.budget()}
		var reply host.LeaseReply
		late, err := r.spend(ctx, func(ctx context.Context) (err error) {
			reply, err = host.Hold(ctx, r.host, req)
			return err
		})
		if late || err != nil || validateHeld(reply, req) != nil {
			return // the verdict is the same
		}
		r.ownLeases = leasesByName(reply.Leases)
	}
	if len(r.ownLeases) == 0 {
		return
	}
	targets := map[entry]int{}
	for _, n := range r.needs {
		targets[n.entry()]++
	}
	for i, n := range r.needs {
		if n.Target != r.Name {
			continue
		}
		held := n.onAnyPort().allHeldBy(r.ownLeases) // assign may have had another range
		for _, proto := range n.Protocols {
			if result := n.unmetResult(i, proto, results); result != nil && len(held) > 0 && held[0].Port != n.Ports.First {
				block := port.Range{First: held[0].Port, Last: held[0].Port + uint16(n.Ports.Len()-1)}
				result.Message += fmt.Sprintf("; this job has %s for it, which `portcheck verify` checks once the app listens", block)
				if targets[n.entry()] == 1 && result.Asked > 0 && n.Range.Contains(block.First) && n.Range.Contains(block.Last) {
					result.Alternatives = append([]uint16{block.First}, result.Alternatives[:min(len(result.Alternatives), result.Asked-1)]...)
				}
			}
		}
	}
}
