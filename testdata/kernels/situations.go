package main

// A situation is what one process does on a port.
type situation struct {
	name  string
	steps []step
	// nobody is set if no process has a socket of the situation any more.
	nobody bool
	// unlisted is set if Linux before 6.8 lists no socket of the situation, and
	// /proc/net lists none on any kernel.
	unlisted bool
}

// A step opens one socket and does something with it.
type step struct {
	do       func(h *holder, port int, s step)
	protocol string
	address  string
	options  options
	peer     string // of a connection
}

type options struct {
	reuse, share, v6only bool
	device               string
}

func (o options) String() string {
	var all string
	for _, x := range []struct {
		on   bool
		name string
	}{{o.v6only, " V6ONLY"}, {o.reuse, " SO_REUSEADDR"}, {o.share, " SO_REUSEPORT"}, {o.device != "", " on device " + o.device}} {
		if x.on {
			all += x.name
		}
	}
	return all
}

var (
	plain = options{}
	reuse = options{reuse: true}
	share = options{share: true}
)

func v6only(o options) options { o.v6only = true; return o }

const (
	tcp = "tcp"
	udp = "udp"
)

// situations returns the table of situations. Each is made on a port of its own for
// each need.
func situations() []situation {
	all := []situation{{name: "nothing"}}
	add := func(s situation, what string, options ...options) {
		for _, o := range options {
			one := s
			one.steps = nil
			for _, x := range s.steps {
				x.options = o
				if x.address != "::" {
					x.options.v6only = false
				}
				one.steps = append(one.steps, x)
			}
			one.name = what + o.String()
			all = append(all, one)
		}
	}
	one := func(do func(*holder, int, step), protocol, address, peer string) situation {
		return situation{steps: []step{{do: do, protocol: protocol, address: address, peer: peer}}}
	}
	for _, a := range []string{"0.0.0.0", "127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"} {
		add(one(listen, tcp, a, ""), "tcp listener on "+a, plain, reuse, share)
		add(one(bind, udp, a, ""), "udp socket on "+a, plain, reuse, share)
	}
	add(one(listen, tcp, "::", ""), "tcp listener on ::", plain, reuse, share, v6only(plain), v6only(reuse), v6only(share))
	add(one(bind, udp, "::", ""), "udp socket on ::", plain, reuse, share, v6only(plain), v6only(reuse), v6only(share))
	add(one(listen, tcp, "127.0.0.1", ""), "tcp listener on 127.0.0.1", options{reuse: true, device: "lo"})
	for _, a := range []string{"0.0.0.0", "127.0.0.1", "::1"} {
		s := one(bind, tcp, a, "")
		s.unlisted = true
		add(s, "tcp socket that does not listen on "+a, plain, reuse, share)
	}
	bound := one(bind, tcp, "::", "")
	bound.unlisted = true
	add(bound, "tcp socket that does not listen on ::", plain, reuse, share, v6only(plain), v6only(reuse))
	for _, c := range []struct{ address, peer string }{{"127.0.0.1", "127.0.0.1"}, {"0.0.0.0", "127.0.0.1"}, {"::1", "::1"}, {"::", "::1"}, {"::", "::ffff:127.0.0.1"}} {
		add(one(outgoing, tcp, c.address, c.peer), "tcp connection from "+c.address+" to "+c.peer, plain, reuse)
		add(one(accepted, tcp, c.address, c.peer), "accepted tcp connection on "+c.address+" from "+c.peer, plain, reuse)
		add(one(outgoing, udp, c.address, c.peer), "udp socket of "+c.address+" that is connected to "+c.peer, plain, reuse)
	}
	for _, c := range []struct{ address, peer string }{{"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}, {"::", "::1"}} {
		s := one(timeWait, tcp, c.address, c.peer)
		s.nobody = true
		add(s, "tcp connection in TIME_WAIT on "+c.address+" from "+c.peer, plain, reuse)
	}
	// Two sockets of one process.
	pair := func(protocol, first, second string) situation {
		do := bind
		if protocol == tcp {
			do = listen
		}
		return situation{steps: []step{{do: do, protocol: protocol, address: first}, {do: do, protocol: protocol, address: second}}}
	}
	add(pair(tcp, "::", "0.0.0.0"), "tcp listeners on :: and 0.0.0.0", v6only(reuse))
	add(pair(tcp, "::", "127.0.0.1"), "tcp listeners on :: and 127.0.0.1", v6only(plain))
	add(pair(udp, "::", "0.0.0.0"), "udp sockets on :: and 0.0.0.0", v6only(plain), v6only(share))
	return all
}

// A need is what the manifest asks for at a port of its own.
type need struct {
	protocol  string
	address   string // as in the manifest
	options   options
	listening bool // expect: listening
}

// needs returns the needs that every situation of a protocol is compared with.
func needs(protocol string) []need {
	sets := []options{reuse, plain, {reuse: true, share: true}}
	if protocol == udp {
		sets = []options{plain, reuse, share}
	}
	var all []need
	for _, a := range []string{"any", "any4", "any6", "loopback", "127.0.0.1", "::1"} {
		for _, o := range sets {
			all = append(all, need{protocol, a, o, false})
		}
		all = append(all, need{protocol, a, sets[0], true})
	}
	return all
}

func (s situation) protocols() []string {
	if len(s.steps) == 0 {
		return []string{tcp, udp}
	}
	return []string{s.steps[0].protocol}
}
