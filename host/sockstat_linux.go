package host

import (
	"bytes"
	"strconv"
)

// fewSockets is how many TCP sockets a network namespace may have so that a walk
// over all of them takes no time worth mentioning: less than a millisecond.
const fewSockets = 2000

// haveManySockets reports whether the network namespace is known to have more TCP
// sockets than a check should walk over.
func haveManySockets() bool {
	total := 0
	for _, file := range []string{"sockstat", "sockstat6"} {
		text, err := readKernelFile("/proc/thread-self/net/" + file)
		if err != nil {
			continue // a kernel without IPv6 has no sockstat6, and gVisor has neither
		}
		total += tcpSockets(text)
	}
	return total >= fewSockets
}

// tcpSockets returns the number of TCP sockets in a text like
//
//	sockets: used 15
//	TCP: inuse 1 orphan 0 tw 14 alloc 9 mem 99
//
// "inuse" counts those that listen or are connected, and "tw" those in TIME_WAIT.
// Source: sockstat_seq_show of net/ipv4/proc.c.
func tcpSockets(text []byte) int {
	total := 0
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) == 0 || string(fields[0]) != "TCP:" && string(fields[0]) != "TCP6:" {
			continue
		}
		for i := 1; i+1 < len(fields); i += 2 {
			if name := string(fields[i]); name != "inuse" && name != "tw" {
				continue
			}
			if n, err := strconv.Atoi(string(fields[i+1])); err == nil && n > 0 {
				total += n
			}
		}
	}
	return total
}
