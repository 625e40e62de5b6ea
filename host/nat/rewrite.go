package nat

import "slices"

// Rules that change headers without NAT. Answers are not changed back, unless another
// rule does it.

// Unanswered is the reason for a route on which calls arrive, but answers may not
// come back.
const Unanswered = "answers may not come back"

// A change is what steps of a rule change in the headers of a call.
type change struct {
	to         Target // as far as it is changed
	addr, port bool   // of the called end
	source     bool   // the address or the port of the caller
}

func (c change) any() bool { return c.addr || c.port || c.source }

func (c *change) add(n change) {
	if n.addr {
		c.addr, c.to.Addr = true, n.to.Addr
	}
	if n.port {
		c.port, c.to.Port = true, n.to.Port
	}
	c.source = c.source || n.source
}

// storePayload changes a header.
type storePayload struct {
	base           uint32
	offset, length int
	at             int // -1 if it is unknown
}

func (s storePayload) run(w *walk) effect {
	if w.filter != nil {
		return matched
	}
	return effect{matched: yes, changes: s.change(w.family, &w.reg)}
}

func (s storePayload) change(family uint8, reg *registers) change {
	covers := func(base uint32, at, length int) bool {
		return s.base == base && s.offset < at+length && s.offset+s.length > at
	}
	addr, length := addrOffset(family)
	c := change{
		addr: covers(baseNetwork, addr, length), port: covers(baseTransport, portOffset, 2),
		source: covers(baseNetwork, addr-length, length) || covers(baseTransport, 0, portOffset),
	}
	switch {
	case s.at < 0:
	case c.addr && s.offset == addr && s.length == length:
		c.to.Addr = reg.addrAt(s.at, family)
	case c.port && s.offset == portOffset && s.length == 2:
		c.to.Port = reg.portAt(s.at)
	}
	return c
}

// rewrite records where a rule sends callers by a change. certain is false if they may
// not meet its conditions. gone reports that none of them comes back.
func (w *walk) rewrite(r *rule, c change, certain bool) (gone bool) {
	addr, port := yes, yes
	if !c.addr {
		c.to.Addr = w.addr
	} else if c.addr = !c.to.Addr.IsValid() || c.to.Addr != w.addr; c.addr {
		addr = w.isEndpoint(c.to.Addr)
	}
	if !c.port {
		c.to.Port = w.port
	} else if port = triOf(c.to.Port == w.port); c.to.Port == 0 {
		port = maybe
	}
	back, targets := min(addr, port), []Target{c.to}
	switch {
	case back == yes && !c.addr && !c.source:
		return false
	case back == yes:
		// Rules for replies to this machine change a source, too, by the port that it has called.
		if !c.addr && !certain && !w.state.port && w.addr.IsValid() && w.isForReplies(r) {
			return false
		}
		w.result.reason = Unanswered
	case back == maybe:
		w.unknown("it depends on what the packets hold")
	case w.mayRestore(r, c):
		w.unknown("other rules may change the packets back")
		targets = append(targets, Target{})
	case slices.ContainsFunc(w.rules.bases(w.family), func(b baseChain) bool {
		return b.nat && (b.hook == w.hook || w.hook == hookIngress && b.hook == hookPrerouting)
	}):
		// Rules for the other port have not been read.
		w.unknown("other NAT rules may send them on")
		targets = append(targets, Target{})
	default:
		gone = true
	}
	w.send(r, effect{sent: targets})
	return gone
}

// mayRestore reports whether a rule other than r may change packets to an endpoint of
// the question.
func (w *walk) mayRestore(r *rule, c change) bool {
	return slices.ContainsFunc(w.rules.rewriters(), func(o rewriter) bool {
		if o.family != w.family || o.table == w.chain.table && o.handle == r.handle {
			return false
		}
		return c.port && o.port && (o.to.Port == 0 || o.to.Port == w.port) || c.addr && o.addr && w.isEndpoint(o.to.Addr) != no
	})
}

// A rewriter is a rule that changes headers of packets of a family.
type rewriter struct {
	table  tableKey
	handle uint32
	family uint8
	change
}

// decodeRewriters returns what a rule changes, something for each family, and its steps.
// Those are nil that neither change a packet nor lead to another chain.
func decodeRewriters(t tableKey, message []byte) (all []rewriter, steps []step, err error) {
	const handle, expressions = 3, 4
	_, a, err := decodeHeader(message)
	if err != nil || a.text(objectTable) != t.name {
		return nil, nil, err
	}
	families := []uint8{t.family}
	if t.family == familyInet || t.family == familyNetdev {
		families = []uint8{familyIPv4, familyIPv6}
	}
	err = eachAttribute(a[expressions], func(_ uint16, data []byte) error {
		x, err := parseAttributes(data)
		var s step
		switch x.text(expressionName) {
		case "immediate", "payload", "lookup", "meta":
			s, err = decodeExpression(data)
		}
		steps = append(steps, s)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	for _, family := range families {
		r := rewriter{table: t, handle: a.number(handle), family: family}
		var reg registers
		for _, s := range steps {
			switch s := s.(type) {
			case immediate:
				reg.storeKnown(s.at, s.value)
			case storePayload:
				r.add(s.change(family, &reg))
			default:
				reg = registers{}
			}
		}
		if r.any() {
			all = append(all, r)
		}
	}
	return all, steps, nil
}
