package nat

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
)

var errTooMany = errors.New("more rules than are followed")

// state is what rules change about a call.
type state struct {
	mark, ctMark partial
	untracked    tri
	kind         partial // for whom the packet is (PACKET_*)
	// port reports whether a rule has selected the call by its port.
	port bool
}

// states joins the states of callers that come together.
type states struct {
	state
	any bool // there are callers
}

func (s *states) join(t state) {
	if !s.any {
		*s = states{t, true}
		return
	}
	s.mark, s.ctMark = s.mark.join(t.mark), s.ctMark.join(t.ctMark)
	s.untracked = s.untracked.join(t.untracked)
	s.kind = s.kind.join(t.kind)
	s.port = s.port && t.port
}

// A call is a new connection, or the first datagram of one.
type call struct {
	family   uint8 // familyIPv4 or familyIPv6
	protocol uint8 // IPPROTO_TCP or IPPROTO_UDP
	addr     netip.Addr
	port     uint16
	asked    netip.Addr // the address of the question
	// local reports whether it comes from the machine itself. Otherwise it comes
	// by the interface in, or by any interface if in is nil. Then addr may be
	// invalid and stands for all addresses.
	local bool
	in    *netInterface
	// spots, if there are any, collects addresses of routes to follow.
	spots *spots
}

// A walk follows one call.
type walk struct {
	call
	rules   ruleset
	machine machine
	filter  *filter // while rules are being read: all questions
	// familySeen reports, with filter, that the family is fixed or has been looked at.
	familySeen bool
	budget     *int // rules that may still be visited
	visits     int

	hook   uint32
	below  bool // at a device below that by which the call arrives
	chain  baseChain
	packet packet
	reg    registers
	state  state
	path   []string // comments of the rules that jumped here
	// written are the sets of ipset that rules so far have changed, by their index.
	written    map[uint16]bool
	writtenAny bool
	// moved reports whether NAT has led the call to an endpoint of the question, maybe
	// another one, and led has the states of those that have met such a rule.
	moved bool
	led   states
	// reply reports that replies are followed, not calls.
	reply   bool
	current struct {
		chain string
		rule  *rule
	}

	accepted states
	result   outcome
}

// An outcome is the end of a call.
type outcome struct {
	away  []sending
	stays bool // there may be callers who are not sent away
	// every reports whether a rule sends away the calls of every port.
	every  bool
	reason string // the first thing that was not known
}

// sending is a rule that sends callers away.
type sending struct {
	targets []Target
	rule    Rule
}

// follow returns the end of a call.
func follow(c call, rules ruleset, m machine, budget *int) (outcome, error) {
	w := &walk{call: c, rules: rules, machine: m, budget: budget, visits: maxWalk}
	w.packet = packetOf(c)
	w.state = state{mark: exactly(0), ctMark: exactly(0), kind: exactly(packetHost)}
	var err error
	if c.local {
		err = w.followLocal()
	} else {
		err = w.followOutside()
	}
	if err == nil {
		err = w.followReplies(c)
	}
	if errors.Is(err, errTooMany) {
		return outcome{away: []sending{{targets: []Target{{}}}}, stays: true, reason: errTooMany.Error()}, nil
	}
	return w.result, err
}

// followOutside follows a call that arrives by an interface.
func (w *walk) followOutside() error {
	early := w.early()
	done, err := false, w.passBelow()
	if err == nil && early {
		done, err = w.pass(hookPrerouting, func(b baseChain) bool { return !b.isIPVS() })
		w.state.kind = w.state.kind.join(exactly(packetHost)) // as it is after NAT to another address
	}
	if err == nil && !done {
		done, err = w.passDevice(hookIngress)
	}
	if err == nil && !done {
		// ip_sabotage_in lets those in a VRF pass again.
		done, err = w.pass(hookPrerouting, func(b baseChain) bool { return !early || b.isIPVS() || w.in.vrf != "" && !b.nat })
	}
	if err != nil || done {
		return err
	}
	return w.enter()
}

// early reports whether the call passes prerouting before the chains of its own interface.
func (w *walk) early() bool {
	return w.in != nil && (w.family == familyIPv4 && w.in.early4 || w.family == familyIPv6 && w.in.early6)
}

// arrival returns the interface that rules see, or nil if it is not known: upon a bridge with
// br_netfilter, it is the bridge's in prerouting.
func (w *walk) arrival() *netInterface {
	if w.hook == hookPrerouting && w.early() && w.in.upon {
		return nil
	}
	return w.in
}

// passDevice takes the call through the chains of the device by which it arrives or
// leaves. done reports that no caller is left.
func (w *walk) passDevice(hook uint32) (done bool, err error) {
	w.hook = hook
	var own []baseChain
	for _, b := range w.rules.bases(w.family) {
		if b.hook == hook && w.in != nil && lists(b.devices, w.in.name) {
			own = append(own, b)
		}
	}
	if goesOn, err := w.either(own); err != nil || !goesOn {
		return true, err
	}
	// ip_rcv_core and ip6_rcv_core drop what is for another host.
	dropped := hook == hookIngress && w.state.kind == exactly(packetOtherhost)
	return dropped, nil
}

// passBelow takes the call through the chains of devices by which it may have arrived before.
func (w *walk) passBelow() error {
	w.hook, w.below = hookIngress, true
	defer func() { w.below = false }()
	for _, b := range w.rules.bases(w.family) {
		if b.hook != hookIngress || w.in != nil && !w.in.isAbove(b.devices) {
			continue
		}
		var on states
		on.join(w.state)
		before := len(w.result.away)
		goesOn, err := w.inOrder([]baseChain{b})
		if err != nil {
			return err
		}
		if goesOn {
			on.join(w.state)
		}
		if w.state = on.state; len(w.result.away) > before {
			w.unknown("it depends on the device where they arrive")
		}
	}
	return nil
}

// isAbove reports whether what arrives by the interface may arrive by one of these devices first.
func (i *netInterface) isAbove(devices []string) bool {
	return slices.ContainsFunc(i.lower, func(name string) bool { return lists(devices, name) })
}

// lists reports whether a name is among those of a chain's devices.
func lists(devices []string, name string) bool {
	return slices.ContainsFunc(devices, func(d string) bool {
		prefix, all := strings.CutSuffix(d, "*")
		return name == d || all && strings.HasPrefix(name, prefix)
	})
}

// enter takes the call to the sockets of the machine.
func (w *walk) enter() error {
	if w.loses(Target{Here: true}) {
		return nil
	}
	done, err := w.pass(hookInput, notNAT)
	if err == nil && !done {
		w.result.stays = true
	}
	return err
}

// loses reports whether the kernel drops the call on its way to a target, because it is not
// for this host. tcp_v4_rcv and tcp_v6_rcv drop such a call here, and ip_forward and
// ip6_forward on the way to another machine. Nobody asks about a datagram for this one.
func (w *walk) loses(t Target) bool {
	if w.in == nil || w.state.kind.equals(packetHost, ^uint32(0)) != no {
		return false
	}
	return w.protocol == protocolTCP || !t.Here && t.Addr.IsValid() && !w.machine.isOwn(t.Addr)
}

// mayTakeBack reports whether the call may be for this host again, by a later rule or by
// br_nf_pre_routing_finish.
func (w *walk) mayTakeBack() bool {
	return w.hook != hookPrerouting || w.early() || slices.ContainsFunc(w.rules.bases(w.family), func(b baseChain) bool {
		return b.hook == hookPrerouting && !b.nat && b.priority >= w.chain.priority && w.rules.setsKind(b.table)
	})
}

func notNAT(b baseChain) bool { return !b.nat }

// followLocal follows a call from the machine itself. NAT has been decided when the
// packet arrives by lo, so only TPROXY can take it there.
func (w *walk) followLocal() error {
	done, err := w.pass(hookOutput, func(b baseChain) bool { return true })
	if err == nil && !done {
		done, err = w.pass(hookPostrouting, notNAT)
	}
	if err != nil || done {
		return err
	}
	w.arriveByLo()
	if done, err = w.passDevice(hookEgress); err == nil && !done {
		done, err = w.passDevice(hookIngress)
	}
	if err == nil && !done {
		done, err = w.pass(hookPrerouting, notNAT)
	}
	if err != nil || done {
		return err
	}
	return w.enter()
}

// arriveByLo makes the call arrive at the machine that it comes from.
func (w *walk) arriveByLo() {
	w.local = false
	w.in = loDevice
	for i := range w.machine.interfaces {
		if w.machine.interfaces[i].loopback {
			w.in = &w.machine.interfaces[i]
		}
	}
}

// pass takes the call through the base chains of a hook. done reports that no
// caller is left.
func (w *walk) pass(hook uint32, wanted func(baseChain) bool) (done bool, err error) {
	w.hook = hook
	var before, nats, after []baseChain
	for _, b := range w.rules.bases(w.family) {
		switch {
		case b.hook != hook || !wanted(b):
		case b.nat:
			nats = append(nats, b)
		case b.priority <= priorityNAT:
			before = append(before, b)
		default:
			after = append(after, b)
		}
	}
	steps := []func() (bool, error){
		func() (bool, error) { return w.either(before) },
		func() (bool, error) { return w.nat(nats) },
		func() (bool, error) { return w.either(after) },
	}
	for _, step := range steps {
		if goesOn, err := step(); err != nil || !goesOn {
			return true, err
		}
	}
	return false, nil
}

// nat takes the call through NAT chains. They see tracked calls only.
func (w *walk) nat(chains []baseChain) (goesOn bool, err error) {
	if w.state.untracked == yes || len(chains) == 0 {
		return true, nil
	}
	before := w.state
	goesOn, err = w.either(chains)
	if err == nil && w.led.any {
		// Other NAT rules don't apply to them, and those of later chains do.
		if goesOn {
			w.led.join(w.state)
		}
		w.state, goesOn, w.led = w.led.state, true, states{}
		offset, length := addrOffset(w.family)
		clear(w.packet.network.known[offset : offset+length])
	}
	if err == nil && before.untracked == maybe {
		all := states{}
		all.join(before)
		if goesOn {
			all.join(w.state)
		}
		w.state, goesOn = all.state, true
	}
	return goesOn, err
}

// either takes the call through chains in the order of their priority. Of chains
// with the same one, the last registered is first (nf_hook_entries_grow). Which
// that is can't be seen across tables. If it matters, both orders are followed.
func (w *walk) either(chains []baseChain) (goesOn bool, err error) {
	chains = slices.Clone(chains)
	slices.Reverse(chains)
	slices.SortStableFunc(chains, func(a, b baseChain) int { return int(a.priority) - int(b.priority) })
	var other []baseChain
	for i := 0; i < len(chains); {
		end := i + 1
		for end < len(chains) && chains[end].priority == chains[i].priority {
			end++
		}
		group := chains[i:end]
		if slices.ContainsFunc(group, func(b baseChain) bool { return b.table != group[0].table }) && other == nil {
			other = slices.Clone(chains)
		}
		if other != nil {
			// Within a table the order is known, so tables change places.
			slices.SortStableFunc(other[i:end], func(a, b baseChain) int {
				return tableIndex(group, b.table) - tableIndex(group, a.table)
			})
		}
		i = end
	}
	before := w.state
	goesOn, err = w.inOrder(chains)
	if err != nil || other == nil {
		return goesOn, err
	}
	first := w.state
	w.state = before
	again, err := w.inOrder(other)
	var all states
	if goesOn {
		all.join(first)
	}
	if again {
		all.join(w.state)
	}
	w.state = all.state
	return all.any, err
}

func tableIndex(chains []baseChain, t tableKey) int {
	return slices.IndexFunc(chains, func(b baseChain) bool { return b.table == t })
}

func (w *walk) inOrder(chains []baseChain) (goesOn bool, err error) {
	for _, b := range chains {
		w.chain, w.accepted, w.path = b, states{}, nil
		before := w.state
		through, s, err := w.run(b.name, w.state, 0)
		if err != nil {
			return false, err
		}
		if through && !b.drops {
			w.accepted.join(s)
		}
		if !w.accepted.any {
			return false, nil
		}
		w.state = w.accepted.selectedSince(before)
	}
	return true, nil
}

// run takes callers through a chain. through reports whether some may return from
// it, and s is their state.
func (w *walk) run(chain string, s state, depth int) (through bool, _ state, err error) {
	if depth > maxDepth {
		return false, s, errTooMany
	}
	rules, err := w.rules.rules(w.chain.table, chain)
	if err != nil {
		return false, s, err
	}
	var exits states
	for i := range rules {
		if w.visits--; w.visits < 0 {
			return false, s, errTooMany
		}
		if *w.budget--; *w.budget < 0 {
			return false, s, errTooMany
		}
		w.current.chain, w.current.rule = chain, &rules[i]
		goesOn, next, err := w.one(&rules[i], s, depth, &exits)
		if err != nil {
			return false, s, err
		}
		if !goesOn {
			return exits.any, exits.state, nil
		}
		s = next
	}
	exits.join(s)
	return true, exits.state, nil
}

// one takes callers through a rule. Those who return from the chain are added to
// exits.
func (w *walk) one(r *rule, s state, depth int, exits *states) (goesOn bool, _ state, err error) {
	w.state = s
	w.reg = registers{}
	chain := w.current.chain
	var on states // the callers that go on to the next rule
	var changed change
	for _, step := range r.steps {
		e := step.run(w)
		changed.add(e.changes)
		if changed.any() && (e.matched != yes || len(e.verdicts) > 0) {
			if w.rewrite(r, changed, !on.any) {
				return on.any, on.state, nil
			}
			changed = change{}
		}
		switch e.matched {
		case no:
			rest := w.state.selectedSince(s)
			rest.port = rest.port || e.selectsRest && r.decides()
			on.join(rest)
			return true, on.state, nil
		case maybe:
			w.unknown(e.reason)
			on.join(w.state.selectedSince(s))
		}
		w.state.port = w.state.port || e.selects
		if len(e.sent) > 0 || e.back != no {
			w.moved = w.moved || e.back != no
			w.send(r, e)
			if e.back != no && w.chain.nat {
				w.result.stays = true
				w.led.join(w.state)
			}
			if e.goesOn || e.back != no && !w.chain.nat {
				on.join(w.state)
			}
			return on.any, on.state, nil
		}
		if len(e.verdicts) == 0 {
			continue
		}
		entered, loaded, further := w.state, w.reg, false
		for _, v := range e.verdicts {
			switch v.code {
			case verdictDrop:
			case verdictAccept:
				w.accepted.join(entered)
			case verdictContinue:
				further = true
			case verdictBreak:
				on.join(entered.selectedSince(s))
			case verdictReturn:
				exits.join(entered)
			case verdictJump, verdictGoto:
				w.path = append(w.path, r.comment)
				through, after, err := w.run(v.chain, entered, depth+1)
				w.path = w.path[:len(w.path)-1]
				if err != nil {
					return false, s, err
				}
				switch {
				case through && v.code == verdictGoto:
					exits.join(after)
				case through && after == entered:
					on.join(after.selectedSince(s))
				case through:
					on.join(after)
				}
			}
		}
		if !further {
			return on.any, on.state, nil
		}
		w.state, w.reg, w.current.chain, w.current.rule = entered, loaded, chain, r
	}
	if changed.any() && w.rewrite(r, changed, !on.any) {
		return on.any, on.state, nil
	}
	on.join(w.state.selectedSince(s))
	return true, on.state, nil
}

// selectedSince returns the state of callers for whom a rule or a chain has decided
// nothing: it selects them only by what it has changed.
func (s state) selectedSince(before state) state {
	port := before.port
	if before.port = s.port; before == s {
		s.port = port
	}
	return s
}

func (w *walk) unknown(reason string) {
	if w.result.reason == "" {
		w.result.reason = reason
	}
}

// send records that a rule sends callers away, unless they are lost.
func (w *walk) send(r *rule, e effect) {
	e.sent = slices.DeleteFunc(slices.Clone(e.sent), func(t Target) bool { return w.loses(t) && !w.mayTakeBack() })
	if len(e.sent) == 0 {
		return
	}
	if !w.state.port {
		w.result.every = true
	}
	if len(w.result.away) >= maxTargets {
		return
	}
	comment := r.comment
	for i := len(w.path) - 1; i >= 0 && comment == ""; i-- {
		comment = w.path[i]
	}
	w.result.away = append(w.result.away, sending{e.sent, Rule{
		Family: familyNames[w.chain.table.family], Table: w.chain.table.name, Chain: w.current.chain,
		Comment: comment, Text: r.text(), Legacy: w.chain.table.legacy,
	}})
}
