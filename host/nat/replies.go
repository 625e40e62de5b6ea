package nat

import (
	"encoding/binary"
	"slices"
)

// Rules that change headers without NAT can change replies, too. Their callers then
// don't know from whom they come.

// followReplies records a rule that may change the replies to those callers who reach a
// socket.
func (w *walk) followReplies(c call) error {
	if !w.result.stays || len(w.result.away) > 0 {
		return nil
	}
	r := &walk{call: c, rules: w.rules, machine: w.machine, budget: w.budget, visits: maxWalk, reply: true}
	r.packet = replyPacket(c, w.moved)
	r.local = false
	hooks := []uint32{hookOutput, hookPostrouting, hookEgress}
	if c.local {
		r.arriveByLo()
		hooks = append(hooks, hookIngress, hookPrerouting, hookInput)
	}
	for _, r.hook = range hooks {
		for _, b := range r.rules.bases(r.family) {
			if b.nat || b.hook != r.hook || !r.rules.mayChangeReplies(b.table) || len(b.devices) > 0 && r.in != nil && !lists(b.devices, r.in.name) && !r.in.isAbove(b.devices) {
				continue
			}
			r.chain = b
			if _, err := r.runReply(b.name, 0); err != nil {
				return err
			}
			if len(r.result.away) > 0 {
				w.result.away, w.result.reason = r.result.away, Unanswered
				return nil
			}
		}
	}
	return nil
}

// replyPacket returns the headers of replies to a call. After NAT, the address from which they
// come is another one at first.
func replyPacket(c call, moved bool) packet {
	to := packetOf(c)
	var p packet
	offset, length := addrOffset(c.family)
	copy(p.network.value[:offset-length], to.network.value[:])
	copy(p.network.known[:offset-length], to.network.known[:])
	if c.addr.IsValid() && !moved {
		p.network.set(offset-length, c.addr.AsSlice()...)
	}
	p.transport.set(0, binary.BigEndian.AppendUint16(nil, c.port)...)
	return p
}

// runReply takes replies through a chain, up to a rule that may change them. through
// reports whether some may return from it.
func (w *walk) runReply(chain string, depth int) (through bool, err error) {
	if depth > maxDepth {
		return false, errTooMany
	}
	rules, err := w.rules.rules(w.chain.table, chain)
	if err != nil {
		return false, err
	}
	returned := false
	for i := range rules {
		if w.visits, *w.budget = w.visits-1, *w.budget-1; w.visits < 0 || *w.budget < 0 {
			return false, errTooMany
		}
		w.current.chain, w.current.rule = chain, &rules[i]
		goesOn, returns, err := w.oneReply(&rules[i], depth)
		returned = returned || returns
		if err != nil || !goesOn || len(w.result.away) > 0 {
			return returned, err
		}
	}
	return true, nil
}

// oneReply takes replies through a rule. returns reports whether some leave the
// chain for the one that jumped to it.
func (w *walk) oneReply(r *rule, depth int) (goesOn, returns bool, err error) {
	w.reg, w.state = registers{}, state{}
	chain := w.current.chain
	for _, step := range r.steps {
		e := w.replyStep(step)
		if e.matched == no {
			return true, returns, nil
		}
		if e.changes.any() {
			w.current.chain = chain
			w.send(r, effect{sent: []Target{{Port: w.port, Here: true}}})
			return true, returns, nil
		}
		goesOn = goesOn || e.matched == maybe
		if len(e.verdicts) == 0 {
			continue
		}
		loaded, further := w.reg, false
		for _, v := range e.verdicts {
			switch v.code {
			case verdictDrop, verdictAccept:
			case verdictContinue:
				further = true
			case verdictBreak:
				goesOn = true
			case verdictReturn:
				returns = true
			case verdictJump, verdictGoto:
				through, err := w.runReply(v.chain, depth+1)
				if err != nil {
					return false, false, err
				}
				goesOn = goesOn || through && v.code == verdictJump
				returns = returns || through && v.code == verdictGoto
			}
		}
		if !further {
			return goesOn, returns, nil
		}
		w.reg = loaded
	}
	return true, returns, nil
}

// replyStep runs a step for replies. What it can't know of them is met by some.
func (w *walk) replyStep(s step) effect {
	switch s := s.(type) {
	case compare, inRange, lookup:
		if of, invert := w.fewCallerPorts(s); of {
			return ifMatched(triOf(invert), "")
		}
		e := s.run(w)
		e.sent = nil
		return e
	case loadMeta, loadPayload, loadRange, loadUnknown, immediate, bitwise, byteOrder, verdict, passes, comment, queue:
		return s.run(w)
	case loadCt:
		w.reg.storeUnknown(s.at, 16)
		return ifMatched(maybe, "")
	case loadFib:
		w.reg.storeUnknown(s.at, 16)
		return matched
	case storeMark, storeKind, noTrack, setMark, connMark:
		return matched
	case storePayload:
		return effect{matched: yes, changes: s.replyChange(w)}
	case forward:
		return effect{matched: yes, changes: change{addr: true}}
	}
	return ifMatched(maybe, "")
}

// fewCallerPorts reports whether a condition is about some ports of callers. Rules for
// calls have such conditions, and hardly any caller has one of these ports.
func (w *walk) fewCallerPorts(s step) (of, invert bool) {
	switch s := s.(type) {
	case compare:
		return len(s.want) == 2 && s.op <= opNotEqual && w.reg.holds(ofCallerPort, s.at, 2), s.op == opNotEqual
	case inRange:
		return len(s.low) == 2 && w.reg.holds(ofCallerPort, s.at, 2) && binary.BigEndian.Uint16(s.high)-binary.BigEndian.Uint16(s.low) < fewPorts, s.invert
	case lookup:
		set, err := w.rules.set(w.chain.table, s.set)
		if err != nil || set == nil || set.flags&setDynamic != 0 || !fits(s.at, set.keyLength) || !slices.Contains(w.reg.is[s.at:s.at+set.keyLength], ofCallerPort) || w.readAll(set) != nil {
			return false, false
		}
		return set.countPorts(&w.reg, s.at, ofCallerPort, func(*element) bool { return true }) <= fewPorts, s.invert
	}
	return false, false
}

const fewPorts = 1024

// replyChange is what a step changes in a reply. What it sets to the called end is no
// change.
func (s storePayload) replyChange(w *walk) change {
	c := s.change(w.family, &w.reg)
	offset, length := addrOffset(w.family)
	var want []byte
	switch {
	case !c.any():
		return c
	case s.base == baseNetwork && s.offset == offset-length && s.length == length && w.addr.IsValid():
		want = w.addr.AsSlice()
	case s.base == baseTransport && s.offset == 0 && s.length == portOffset:
		want = binary.BigEndian.AppendUint16(nil, w.port)
	default:
		return c
	}
	if s.at >= 0 && equalBits(w.reg.value[s.at:s.at+s.length], w.reg.known[s.at:s.at+s.length], want) == yes {
		return change{}
	}
	return c
}

// isForReplies reports whether a rule is for few ports of callers. So rules for replies are.
func (w *walk) isForReplies(r *rule) bool {
	v := *w // its registers are those of another run
	v.reg = registers{}
	for _, s := range r.steps {
		switch s := s.(type) {
		case loadPayload, bitwise, byteOrder:
			s.run(&v)
		case compare, inRange, lookup:
			if of, invert := v.fewCallerPorts(s); of && !invert {
				return true
			}
		}
	}
	return false
}
