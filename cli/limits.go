package cli

import (
	"fmt"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// Limits of a run, on what a short manifest can multiply. Below them, a run takes
// less than 250 MB.
const (
	// A fleet of 1,000 hosts with 30 ports each has 30,000 results.
	mostResults = check.MostResults
	mostTargets = check.MostTargets
	// Names for one namespace of this machine, which is probed for each of them. Many
	// names for one host are a matter of its own load.
	mostNames = 4
	// The largest blocks in use are those of media servers, 10,000 to 20,000 ports:
	// 6 to 13 of these servers reach it.
	mostEndpoints = 1 << 17
	// The ports of one target's ranges are sent to it, each range once for each
	// way in which needs bind.
	mostRanges = 1 << 18
	mostScans  = 1 << 13
	// Each unmet need lists its alternatives, each need its candidates.
	mostAlternativesOfRun = 1 << 18
	mostCandidatesOfRun   = 1 << 24
)

// validForAll returns an error if a flag asks for a number of ports for each result
// and all results together could have more than most.
func validForAll(flag string, n, results, most int) error {
	if each := most / max(results, 1); n > each {
		return usageError(fmt.Errorf("--%s %d: want at most %d for %d results", flag, n, each, results), "")
	}
	return nil
}

// totals counts what the limits of a run are about.
type totals struct {
	results, endpoints, ranges int
	onTarget                   map[string]int // endpoints
	scans                      map[scan]bool
	names                      map[string]int // of the targets that don't connect, by their spec
}

// scan is what a target is asked about the range of a need.
type scan struct {
	target, addresses    string
	protocol             port.Protocol
	reuseAddr, reusePort bool
	first                *port.Range // the needs of one manifest share their range
}

func newTotals() *totals {
	return &totals{onTarget: map[string]int{}, scans: map[scan]bool{}, names: map[string]int{}}
}

// addTarget counts one more target. It returns a problem if a limit is exceeded.
func (t *totals) addTarget(s targetSpec) *config.Problem {
	if strings.HasPrefix(s.spec, "ssh://") {
		return nil
	}
	if t.names[s.spec]++; t.names[s.spec] <= mostNames {
		return nil
	}
	p := s.problem(fmt.Errorf("target %q is number %d that is %s: at most %d of a run may be the same", s.name, mostNames+1, s.spec, mostNames))
	return &p
}

// add counts one more need of one more target. It returns a problem if a limit is
// exceeded.
func (t *totals) add(n check.Need, targets int) *config.Problem {
	t.results += len(n.Protocols)
	t.endpoints += n.Endpoints()
	t.onTarget[n.Target] += n.Endpoints()
	if n.Expect == config.Free && len(n.Range) > 0 {
		for _, proto := range n.Protocols {
			b := n.Binding(proto)
			s := scan{n.Target, fmt.Sprint(b.Addresses, b.Device), proto, b.ReuseAddress, b.ReusePort, &n.Range[0]}
			if !t.scans[s] {
				t.scans[s] = true
				t.ranges += len(n.Range)
			}
		}
	}
	var text string
	switch {
	case targets > mostTargets:
		text = fmt.Sprintf("more than %d targets, the limit of a run", mostTargets)
	case t.results > mostResults:
		text = fmt.Sprintf("more than %d results, the limit of a run: each need has one for each of its targets and protocols", mostResults)
	case t.onTarget[n.Target] > host.MostEndpoints:
		text = fmt.Sprintf("more than %d endpoints on target %q, the limit of a target: each need has its ports, times its addresses, times its protocols", host.MostEndpoints, n.Target)
	case t.endpoints > mostEndpoints:
		text = fmt.Sprintf("more than %d endpoints, the limit of a run: each need has its ports, times its addresses, protocols and targets", mostEndpoints)
	case t.ranges > mostRanges, len(t.scans) > mostScans:
		text = fmt.Sprintf("more than %d ports and ranges in range, or %d different ones, the limits of a run: they count for each target and protocol of a need", mostRanges, mostScans)
	default:
		return nil
	}
	return &config.Problem{Position: n.At, Message: text}
}
