package nat

import (
	"slices"
	"strings"
)

// Address families as nf_tables numbers them (NFPROTO_*).
const (
	familyInet   = 1
	familyIPv4   = 2
	familyNetdev = 5
	familyIPv6   = 10
)

var familyNames = map[uint8]string{familyInet: "inet", familyIPv4: "ip", familyNetdev: "netdev", familyIPv6: "ip6"}

// Hooks (enum nf_inet_hooks). The family netdev numbers its two from 0
// (enum nf_dev_hooks).
const (
	hookPrerouting  = 0
	hookInput       = 1
	hookOutput      = 3
	hookPostrouting = 4
	hookIngress     = 5
	hookEgress      = 6
)

// Priorities (enum nf_ip_hook_priorities).
const (
	priorityConntrack = -200
	priorityNAT       = -100
)

// tableKey names a table of a network namespace.
type tableKey struct {
	family uint8
	name   string
	legacy bool
}

// A baseChain is a chain that the kernel itself enters.
type baseChain struct {
	table    tableKey
	name     string
	hook     uint32
	priority int32
	nat      bool
	drops    bool     // the policy
	devices  []string // of a hook of devices; one with a * at its end stands for all that start so
}

// A rule is a list of steps, each of which ends it or goes on to the next.
type rule struct {
	comment string
	handle  uint32 // of nf_tables
	steps   []step
}

// decides reports whether those who meet the conditions of a rule don't go on to the next.
func (r *rule) decides() bool {
	return slices.ContainsFunc(r.steps, func(s step) bool {
		switch s := s.(type) {
		case verdict:
			return s.code != verdictJump && s.code != verdictContinue
		case lookup:
			return s.verdict
		case dnat, dnatRegisters, redirect, redirectRegisters, tproxy, tproxyRegisters, queue:
			return true
		}
		return false
	})
}

// A step is a part of a rule: a condition, an action or both.
type step interface {
	run(w *walk) effect
	// text describes the step. It may be empty.
	text(*describer) string
}

// An effect is what a step did.
type effect struct {
	// matched is no if the rule ends here for all callers.
	matched tri
	// reason is why matched is maybe.
	reason string
	// selects reports, of a condition on the called port, that those who meet it are
	// selected by their port, and selectsRest that the others are.
	selects, selectsRest bool
	// verdicts are what ends the rule. There are several if it is one of them that
	// is not known.
	verdicts []verdict
	// sent lists where a NAT rule sends callers. They go on if it is empty.
	sent []Target
	// changes is what the step changes in the headers.
	changes change
	// back is for NAT rules: whether they lead to an endpoint of the question.
	back tri
	// goesOn is for NAT rules after which those callers that it leaves alone continue.
	goesOn bool
}

var matched = effect{matched: yes}

func ifMatched(t tri, reason string) effect { return effect{matched: t, reason: reason} }

// A verdict ends a rule.
type verdict struct {
	code  verdictCode
	chain string // of a jump
}

func (v verdict) run(*walk) effect { return effect{matched: yes, verdicts: []verdict{v}} }

type verdictCode int

const (
	verdictDrop verdictCode = iota
	verdictAccept
	verdictContinue // with the next step
	verdictBreak    // with the next rule
	verdictReturn
	verdictJump
	verdictGoto
)

// A ruleset provides the rules of a network namespace. It reads them when they are
// asked for.
type ruleset interface {
	// bases returns the base chains of a family in the order in which they were
	// registered, where that is known.
	bases(family uint8) []baseChain
	// rules returns those rules of a chain that may concern any of the questions.
	rules(t tableKey, chain string) ([]rule, error)
	// rewriters returns all rules that change headers.
	rewriters() []rewriter
	// mayChangeReplies reports whether a table has rules that may change replies.
	mayChangeReplies(t tableKey) bool
	// setsKind reports whether a table has rules without NAT that set for whom packets are.
	setsKind(t tableKey) bool
	// set returns a set of nf_tables.
	set(t tableKey, name string) (*set, error)
	// element returns the element of a set with exactly this key, or nil.
	element(t tableKey, s *set, key []byte) (*element, error)
	// ipset returns a set of ipset by its number. An error of this and of inSet makes
	// a rule one for some callers.
	ipset(index uint16) (*ipset, error)
	// inSet reports whether a set of ipset has a key.
	inSet(s *ipset, key ipsetKey) (bool, error)
}

// A describer makes the text of a rule from its steps.
type describer struct {
	registers [registerBytes]string // what is in the register that starts here
}

func (r rule) text() string {
	var d describer
	var words []string
	for _, s := range r.steps {
		if t := s.text(&d); t != "" {
			words = append(words, t)
		}
	}
	return strings.Join(words, " ")
}
