package host

import (
	"bytes"
	"strconv"

	"github.com/org/portcheck/host/internal/kernelfile"
)

// fewSockets is how many TCP sockets a network namespace may have so that a walk
// over all of them takes no time worth mentioning: some milliseconds at most.
const fewSockets = 2000

// elsewhereWeight is how many sockets of other network namespaces cost a walk as much
// as one of this. The kernel has one table for all of them, and skips those of others
// by their port and address (inet_diag_dump_icsk of net/ipv4/inet_diag.c). Measured:
// 15,000 sockets that are bound take 96 ms here, and 1 to 3 ms elsewhere.
const elsewhereWeight = 32

// haveManySockets reports whether there may be more TCP sockets than a check should
// walk over.
func haveManySockets() bool {
	var s sockstat
	for _, file := range []string{"sockstat", "sockstat6"} {
		text, err := kernelfile.Read("/proc/thread-self/net/" + file)
		if err != nil {
			continue // a kernel without IPv6 has no sockstat6, and gVisor has neither
		}
		if s.add(text); s.cost() >= fewSockets {
			return true
		}
	}
	return false
}

// sockstat is what /proc/net/sockstat and sockstat6 count. Source: sockstat_seq_show
// of net/ipv4/proc.c.
type sockstat struct {
	used  int // sockets of all kinds, of this network namespace
	inUse int // TCP sockets that listen or are connected, of this network namespace
	tw    int // those in TIME_WAIT
	alloc int // TCP sockets of the whole machine but those in TIME_WAIT
}

// cost returns the number of sockets of this network namespace that cost a walk as
// much. Those that are bound and do not listen are counted in used and alloc alone.
func (s sockstat) cost() int {
	here := max(s.inUse, min(s.used, s.alloc))
	return here + s.tw + max(s.alloc-here, 0)/elsewhereWeight
}

// add adds the numbers in a text like
//
//	sockets: used 15
//	TCP: inuse 1 orphan 0 tw 14 alloc 9 mem 99
func (s *sockstat) add(text []byte) {
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) == 0 {
			continue
		}
		counters := map[string]*int{}
		switch string(fields[0]) {
		case "sockets:":
			counters["used"] = &s.used
		case "TCP:", "TCP6:":
			counters["inuse"], counters["tw"], counters["alloc"] = &s.inUse, &s.tw, &s.alloc
		}
		for i := 1; i+1 < len(fields); i += 2 {
			counter := counters[string(fields[i])]
			if n, err := strconv.Atoi(string(fields[i+1])); counter != nil && err == nil && n > 0 {
				*counter += n
			}
		}
	}
}
