//go:build linux

package oracle

import (
	"fmt"
	"os"
	"strings"
)

// situation is the state of the port before a server starts.
type situation struct {
	name string
	// shows is the state of the port's sockets in /proc/net, which proves that
	// the situation matches its name. Sockets that are only bound do not show.
	shows   string
	devices bool               // needs v0 and v1
	prepare func(*world) error // before the roles
	after   func(*world) error // when the roles are ready
	roles   []role
}

// role is one process of a situation.
type role struct {
	other     bool // runs as another user than the server will
	elsewhere bool // in a network namespace of its own
	reports   int  // number of processes that report; 0: 1
	dies      bool // the first process ends before the server starts
	run       func(*holder)
}

const (
	tcp = "tcp"
	udp = "udp"
)

var (
	plain     = options{}
	reuse     = options{reuse: true}
	share     = options{share: true}
	shareBoth = options{reuse: true, share: true}
)

func variant(name string, o options) string {
	var words []string
	if o.v6only {
		words = append(words, "V6ONLY")
	}
	if o.reuse {
		words = append(words, "SO_REUSEADDR")
	}
	if o.share {
		words = append(words, "SO_REUSEPORT")
	}
	if o.device != "" {
		words = append(words, "on "+o.device)
	}
	if len(words) == 0 {
		return name
	}
	return name + ", " + strings.Join(words, ", ")
}

func situations() []situation {
	all := []situation{{name: "nothing"}}
	one := func(name, shows string, r role) {
		all = append(all, situation{name: name, shows: shows, roles: []role{r}})
	}
	// The user of the process matters only for SO_REUSEPORT. Elsewhere it varies
	// so that a check without root can name only some of the holders.
	for _, o := range []options{plain, reuse} {
		r := func(run func(*holder)) role { return role{other: o.reuse, run: run} }
		for _, addr := range []string{"0.0.0.0", "::", "127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"} {
			one(variant("tcp listener on "+addr, o), "LISTEN", r(listening(addr, o)))
		}
		v6only := o
		v6only.v6only = true
		one(variant("tcp listener on ::", v6only), "LISTEN", r(listening("::", v6only)))

		for _, addr := range []string{"0.0.0.0", "127.0.0.1", "::", "::1"} {
			one(variant("tcp bound on "+addr, o), "", r(bound(tcp, addr, o)))
		}
		one(variant("outgoing from 127.0.0.1", o), "ESTABLISHED", r(outgoing("127.0.0.1", o)))
		one(variant("outgoing from ::1", o), "ESTABLISHED", r(outgoing("::1", o)))
		one(variant("outgoing from a wildcard bind", o), "ESTABLISHED", r(outgoing("0.0.0.0", o)))
		one(variant("accepted, listener closed", o), "ESTABLISHED", r(accepted("0.0.0.0", "127.0.0.1", o)))
		one(variant("accepted on ::, listener closed", o), "ESTABLISHED", r(accepted("::", "127.0.0.1", o)))
		one(variant("TIME_WAIT", o), "TIME_WAIT", r(timeWait("127.0.0.1", o)))
		one(variant("TIME_WAIT on ::1", o), "TIME_WAIT", r(timeWait("::1", o)))
		one(variant("FIN_WAIT, closed", o), "FIN_WAIT2", r(finWait(o)))
		one(variant("FIN_WAIT, shut down", o), "FIN_WAIT2", r(shutDown(o)))
		one(variant("CLOSE_WAIT", o), "CLOSE_WAIT", r(closeWait(o)))

		for _, addr := range []string{"0.0.0.0", "::", "127.0.0.1", "::1"} {
			one(variant("udp on "+addr, o), "UNCONN", r(bound(udp, addr, o)))
		}
		one(variant("udp on ::", v6only), "UNCONN", r(bound(udp, "::", v6only)))
		one(variant("udp connected from 127.0.0.1", o), "ESTABLISHED", r(connected("127.0.0.1", o)))
	}
	for _, other := range []bool{false, true} {
		ofUser := " of the same user"
		if other {
			ofUser = " of another user"
		}
		r := func(run func(*holder)) role { return role{other: other, run: run} }
		for _, addr := range []string{"0.0.0.0", "::", "127.0.0.1"} {
			one(variant("tcp listener on "+addr, share)+ofUser, "LISTEN", r(listening(addr, share)))
		}
		one(variant("tcp listener on 0.0.0.0", shareBoth)+ofUser, "LISTEN", r(listening("0.0.0.0", shareBoth)))
		one(variant("tcp bound on 0.0.0.0", share)+ofUser, "", r(bound(tcp, "0.0.0.0", share)))
		one(variant("udp on 0.0.0.0", share)+ofUser, "UNCONN", r(bound(udp, "0.0.0.0", share)))
		one(variant("udp on 127.0.0.1", share)+ofUser, "UNCONN", r(bound(udp, "127.0.0.1", share)))
		one(variant("udp on 0.0.0.0", shareBoth)+ofUser, "UNCONN", r(bound(udp, "0.0.0.0", shareBoth)))
		one(variant("accepted, listener closed", share)+ofUser, "ESTABLISHED", r(accepted("0.0.0.0", "127.0.0.1", share)))
		one(variant("TIME_WAIT", share)+ofUser, "TIME_WAIT", r(timeWait("127.0.0.1", share)))
	}
	group := role{run: listening("0.0.0.0", share)}
	all = append(all, situation{name: "tcp listeners of two processes, SO_REUSEPORT", shows: "LISTEN", roles: []role{group, group}})

	one("tcp listener inherited from a dead parent", "LISTEN", role{dies: true, run: inherited(reuse)})
	one("tcp listener handed over", "LISTEN", role{reports: 2, run: handedOver(reuse, false)})
	one("tcp listener handed over and kept", "LISTEN", role{reports: 2, other: true, run: handedOver(reuse, true)})
	one("tcp listener in another network namespace", "", role{elsewhere: true, run: listening("0.0.0.0", plain)})

	for _, o := range []options{{device: "v0"}, {device: "v1"}, {device: "v0", reuse: true, share: true}} {
		for _, s := range []situation{
			{name: "tcp listener on 0.0.0.0", shows: "LISTEN", roles: []role{{run: listening("0.0.0.0", o)}}},
			{name: "tcp listener on ::", shows: "LISTEN", roles: []role{{run: listening("::", o)}}},
			{name: "udp on ::", shows: "UNCONN", roles: []role{{run: bound(udp, "::", o)}}},
		} {
			s.name, s.devices = variant(s.name, o), true
			all = append(all, s)
		}
	}

	off := sysctl("ipv6/conf/all/disable_ipv6", "1")
	v6only := sysctl("ipv6/bindv6only", "1")
	all = append(all, []situation{
		{name: "IPv6 off", prepare: off},
		{name: "IPv6 off, tcp listener on 0.0.0.0", prepare: off, shows: "LISTEN", roles: []role{{run: listening("0.0.0.0", reuse)}}},
		{name: "IPv6 off, tcp listener on ::", prepare: off, shows: "LISTEN", roles: []role{{run: listening("::", reuse)}}},
		{name: "bindv6only=1", prepare: v6only},
		{name: "bindv6only=1, tcp listener on ::", prepare: v6only, shows: "LISTEN", roles: []role{{run: listening("::", options{asIs: true})}}},
		{name: "privileged port", prepare: sysctl("ipv4/ip_unprivileged_port_start", fmt.Sprint(number+1))},
	}...)
	// A port that the kernel chose for a connection.
	choose := sysctl("ipv4/ip_local_port_range", fmt.Sprint(number, " ", number))
	chosen := sysctl("ipv4/ip_local_port_range", "32768 60999")
	for _, o := range []options{plain, reuse} {
		all = append(all, situation{
			name: variant("outgoing, port chosen by the kernel", o), prepare: choose, after: chosen,
			shows: "ESTABLISHED", roles: []role{{other: o.reuse, run: outgoing("", o)}},
		})
	}
	return all
}

func sysctl(name, value string) func(*world) error {
	return func(*world) error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644) }
}
