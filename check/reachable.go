package check

import (
	"fmt"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// judgeReachable returns the verdict on the connects to each port of a need. One
// port that is not as expected decides, whatever is known of the others.
func judgeReachable(n Need, dialed []host.Attempt) Result {
	r := n.result(port.TCP)
	good, bad := Reachable, Unreachable
	if n.Expect == config.Unreachable {
		good, bad = bad, good
	}
	r.Status, r.Method = good, None
	r.Endpoints = make([]Endpoint, len(dialed))
	for i, a := range dialed {
		r.Endpoints[i] = dialedEndpoint(n.Remote, a)
		if a.Outcome != host.NotTried {
			r.Method = Connect
		}
		switch s := n.reachStatus(a); {
		case s == bad, s == Unknown && r.Status == good:
			r.Status = s
		}
	}
	if len(dialed) == 1 {
		r.Message = describeDial(n, dialed[0])
	} else {
		r.Message = describeDials(n, dialed)
	}
	if len(dialed) == 1 && r.Status == Unknown && dialed[0].Op == "resolve" {
		r.Message += ", which does not show that nobody reaches it"
	}
	return r
}

func dialedEndpoint(remote string, a host.Attempt) Endpoint {
	e := Endpoint{Address: remote, Port: a.Port, Outcome: string(a.Outcome), Op: a.Op, Errno: a.Errno}
	if a.Addr.IsValid() {
		e.Address = a.Addr.String()
	}
	return e
}

// reachStatus returns the status of one port of a need. That a remote is unreachable,
// as expected, is shown only by a refusal or by its silence: a name without an address
// may be misspelled.
func (n Need) reachStatus(a host.Attempt) Status {
	switch {
	case a.Outcome == host.OK:
		return Reachable
	case a.Outcome == host.NotTried, a.Op == "socket":
		return Unknown
	case n.Expect == config.Unreachable && !isRefusal(a) && !silence[a.Errno]:
		return Unknown
	}
	return Unreachable
}

// silence are the errors of a connect that nobody answers, or that a router or firewall
// on the way rejects. On Windows they have the names of Winsock.
var silence = map[string]bool{
	"ETIMEDOUT": true, "EHOSTUNREACH": true, "EHOSTDOWN": true, "ECONNRESET": true,
	"WSAETIMEDOUT": true, "WSAEHOSTUNREACH": true, "WSAEHOSTDOWN": true, "WSAECONNRESET": true,
}

func isRefusal(a host.Attempt) bool {
	return a.Errno == "ECONNREFUSED" || a.Errno == "WSAECONNREFUSED"
}

// timedOut reports whether a connect got no answer in its time.
func timedOut(a host.Attempt) bool { return a.Errno == "ETIMEDOUT" || a.Errno == "WSAETIMEDOUT" }

// describeDial returns the message for a need of one port.
func describeDial(n Need, a host.Attempt) string {
	subject := fmt.Sprintf("%s port %d", n.remote(), a.Port)
	switch {
	case a.Outcome == host.NotTried:
		return fmt.Sprintf("%s: can't connect from this target: %s", subject, a.Errno)
	case a.Outcome == host.OK:
		return subject + " accepts connections"
	case a.Op == "socket":
		return fmt.Sprintf("%s could not be tried (%s: %s)", subject, a.Op, a.Errno)
	case a.Op == "resolve":
		return fmt.Sprintf("%s can't be resolved (%s)", n.remote(), a.Errno)
	case isRefusal(a):
		return subject + " refuses connections: nothing listens there"
	case timedOut(a):
		return subject + " does not answer (timeout): it is down, or a firewall drops the packets"
	}
	return fmt.Sprintf("%s can't be reached (%s)", subject, a.Errno)
}

// describeDials returns the message for a need of several ports: those that were not
// reached, by the reason.
func describeDials(n Need, dialed []host.Attempt) string {
	subject := fmt.Sprintf("%s ports %s", n.remote(), n.Ports)
	var reasons []string // in the order of their first ports
	ports := map[string]port.Set{}
	missed := 0
	for _, a := range dialed {
		reason := dialFailure(a)
		if reason == "" {
			continue
		}
		missed++
		if ports[reason] == nil {
			reasons = append(reasons, reason)
		}
		ports[reason] = extend(ports[reason], a.Port)
	}
	if missed == 0 {
		return subject + " accept connections"
	}
	if n.Expect == config.Unreachable && missed < len(dialed) {
		var open port.Set
		for _, a := range dialed {
			if a.Outcome == host.OK {
				open = extend(open, a.Port)
			}
		}
		return fmt.Sprintf("%s: %d of %d accept connections: %s", subject, len(dialed)-missed, len(dialed), clipSet(open))
	}
	const most = 3
	var parts []string
	for i, reason := range reasons {
		if i == most {
			parts = append(parts, "others for other reasons")
			break
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", clipSet(ports[reason]), reason))
	}
	return fmt.Sprintf("%s: %d of %d not reached: %s", subject, missed, len(dialed), strings.Join(parts, ", "))
}

// dialFailure returns why a port was not reached, or "" if it was.
func dialFailure(a host.Attempt) string {
	switch {
	case a.Outcome == host.OK:
		return ""
	case a.Outcome == host.NotTried:
		return "not tried: " + a.Errno
	case a.Op == "socket", a.Op == "resolve":
		return fmt.Sprintf("%s: %s", a.Op, a.Errno)
	case isRefusal(a):
		return "connection refused: nothing listens there"
	case timedOut(a):
		return "no answer: it is down, or a firewall drops the packets"
	}
	return a.Errno
}

// extend returns set with a port that is higher than all of it.
func extend(set port.Set, n uint16) port.Set {
	if last := len(set) - 1; last >= 0 && set[last].Last+1 == n {
		set[last].Last = n
		return set
	}
	return append(set, port.One(n))
}

// clipSet returns the first ranges of a set.
func clipSet(set port.Set) string {
	const most = 8
	if more := len(set) - most; more > 0 {
		return set[:most].String() + " and more"
	}
	return set.String()
}
