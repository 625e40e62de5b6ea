package check

import (
	"cmp"
	"context"
	"fmt"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// mentionHeld adds to unmet needs the other ports that the run's job holds for them: the
// app is to use these.
func (r *round) mentionHeld(ctx context.Context, results map[resultKey]*Result) {
	job := cmp.Or(r.Target.Job, r.plan.Job)
	unmet := func(n Need, i int, proto port.Protocol) *Result {
		result := results[resultKey{i, proto}]
		if n.Auto || n.Expect != config.Free || result == nil || !movable(result) {
			return nil
		}
		return result
	}
	any := false
	for i, n := range r.needs {
		for _, proto := range n.Protocols {
			any = any || n.Target == r.Name && unmet(n, i, proto) != nil
		}
	}
	if !any || job == "" || r.host == nil {
		return
	}
	req := host.LeaseRequest{List: host.OwnLeases, Job: job, Budget: max(leaseTime-r.leaseTime, leastLeaseTime)}
	var reply host.LeaseReply
	late, err := r.spend(ctx, func(ctx context.Context) (err error) {
		reply, err = host.Hold(ctx, r.host, req)
		return err
	})
	if late || err != nil || validateHeld(reply, req) != nil {
		return // the verdict is the same
	}
	for i, n := range r.needs {
		if n.Target != r.Name {
			continue
		}
		anywhere := n // assign may have had another range
		anywhere.Range, anywhere.Exclude = port.Set{{First: 1, Last: port.MaxPort}}, nil
		held := anywhere.allHeldBy(reply.Leases)
		for _, proto := range n.Protocols {
			if result := unmet(n, i, proto); result != nil && len(held) > 0 && held[0].Port != n.Ports.First {
				block := port.Range{First: held[0].Port, Last: held[0].Port + uint16(n.Ports.Len()-1)}
				result.Message += fmt.Sprintf("; this job has %s for it, which `portcheck verify` checks once the app listens", block)
			}
		}
	}
}
