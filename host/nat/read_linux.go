package nat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// errChanged is for rules that changed while they were read.
var errChanged = errors.New("the rules changed while they were read")

const maxTries = 5

// Read answers questions about the network namespace of the calling thread. The
// answers have the order of the questions. It needs CAP_NET_ADMIN in the user
// namespace that owns the network namespace; without that the error is an
// *Unreadable.
func Read(ctx context.Context, questions []Question) ([]Answer, error) {
	for _, q := range questions {
		if !q.valid() {
			return nil, fmt.Errorf("NAT rules: not a question: %s %s port %d", q.Protocol, q.Addr, q.Port)
		}
	}
	if len(questions) == 0 {
		return nil, nil
	}
	m, err := readMachine()
	if err != nil {
		return nil, &Unreadable{Op: "list interfaces", Err: err, Possible: true}
	}
	for try := 1; ; try++ {
		answers, err := readOnce(ctx, questions, m)
		var problem *Unreadable
		switch {
		case err == nil:
			return answers, nil
		case errors.Is(err, errChanged) && try < maxTries && ctx.Err() == nil:
			continue
		case !errors.As(err, &problem):
			problem = &Unreadable{Op: "read", Err: err}
		}
		problem.Possible = true
		if errors.Is(err, fs.ErrPermission) {
			problem.Possible = mayTranslate()
		}
		return nil, problem
	}
}

func readOnce(ctx context.Context, questions []Question, m machine) ([]Answer, error) {
	f := newFilter(questions, m)
	k, err := openKernel(ctx, f)
	if err != nil {
		return nil, err
	}
	defer k.close()
	answers, err := answer(questions, k, m)
	if err != nil {
		return nil, err
	}
	return answers, k.unchanged()
}

// kernel is the ruleset of a network namespace.
type kernel struct {
	filter     *filter
	netlink    *netlink // nil if there is no nf_tables
	generation uint32
	base       []baseChain
	legacy     map[tableKey]legacyTable
	chains     map[chainKey][]rule
	sets       map[chainKey]*set
	kept       int
}

type chainKey struct {
	table tableKey
	name  string
}

// Messages of nf_tables.
const (
	getTable   = 1
	getChain   = 4
	getRule    = 7
	getSet     = 10
	getElement = 13
	getGen     = 16
)

func openKernel(ctx context.Context, f *filter) (*kernel, error) {
	k := &kernel{filter: f, legacy: map[tableKey]legacyTable{}, chains: map[chainKey][]rule{}, sets: map[chainKey]*set{}}
	// The order of legacy tables among the others is not known. Theirs is first here,
	// and walk.either follows both.
	if err := k.readLegacy(); err != nil {
		return nil, err
	}
	var err error
	if k.netlink, err = openNetlink(ctx); err != nil {
		if without(err) {
			return k, nil
		}
		return nil, err
	}
	if err := k.readBases(); err != nil {
		k.close()
		if without(err) {
			k.netlink = nil
			return k, nil
		}
		return nil, err
	}
	return k, nil
}

// without reports whether the kernel has no nf_tables. nfnetlink answers EINVAL
// for a subsystem that it does not have, and gVisor has no nfnetlink.
func without(err error) bool {
	return errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)
}

func (k *kernel) close() {
	if k.netlink != nil {
		k.netlink.close()
	}
}

func (k *kernel) readGeneration() (uint32, error) {
	const id = 1
	message, err := k.netlink.get(getGen, 0, nil)
	if err != nil {
		return 0, err
	}
	_, a, err := decodeHeader(message)
	return a.number(id), err
}

func (k *kernel) unchanged() error {
	if k.netlink == nil {
		return nil
	}
	g, err := k.readGeneration()
	if err == nil && g != k.generation {
		err = errChanged
	}
	return err
}

func (k *kernel) readBases() error {
	var err error
	if k.generation, err = k.readGeneration(); err != nil {
		return err
	}
	asleep := map[tableKey]bool{}
	var order []tableKey
	err = k.netlink.dump(getTable, 0, nil, func(message []byte) error {
		t, dormant, err := decodeTable(message)
		asleep[t] = dormant
		order = append(order, t)
		return err
	})
	if err != nil {
		return err
	}
	if len(order) == 0 {
		return nil
	}
	return k.netlink.dump(getChain, 0, nil, func(message []byte) error {
		b, ok, err := decodeChain(message)
		if ok && !asleep[b.table] && familyNames[b.table.family] != "" && (b.hook == hookPrerouting || b.hook == hookOutput) {
			k.base = append(k.base, b)
		}
		return err
	})
}

func (k *kernel) readLegacy() error {
	for _, family := range []uint8{familyIPv4, familyIPv6} {
		names, err := legacyTables(family)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			continue
		}
		for _, name := range names {
			info, entries, err := readLegacyTable(family, name)
			if err != nil {
				return err
			}
			t, err := decodeLegacy(name, info, entries, k.filter.walk(family))
			if err != nil {
				return &Unreadable{Op: "decode the table " + name, Err: err}
			}
			k.legacy[tableKey{family, name, true}] = t
			k.base = append(k.base, t.bases...)
		}
	}
	return nil
}

func (k *kernel) bases(family uint8) []baseChain {
	var all []baseChain
	for _, b := range k.base {
		if b.table.family == family || b.table.family == familyInet {
			all = append(all, b)
		}
	}
	return all
}

func (k *kernel) rules(t tableKey, chain string) ([]rule, error) {
	if t.legacy {
		return k.legacy[t].chains[chain], nil
	}
	key := chainKey{t, chain}
	if rules, read := k.chains[key]; read {
		return rules, nil
	}
	const table, name = 1, 2
	var rules []rule
	w := k.filter.walk(t.family)
	err := k.netlink.dump(getRule, t.family, []attribute{textAttribute(table, t.name), textAttribute(name, chain)}, func(message []byte) error {
		r, keep, err := decodeRule(message, w)
		if keep {
			rules = append(rules, r)
			err = errors.Join(err, k.keep())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	k.chains[key] = rules
	return rules, nil
}

// keep counts what is kept in memory.
func (k *kernel) keep() error {
	if k.kept++; k.kept > maxKept {
		return errTooMany
	}
	return nil
}

func (k *kernel) set(t tableKey, name string) (*set, error) {
	key := chainKey{t, name}
	if s, read := k.sets[key]; read {
		return s, nil
	}
	const table, setName = 1, 2
	message, err := k.netlink.get(getSet, t.family, []attribute{textAttribute(table, t.name), textAttribute(setName, name)})
	if err != nil {
		return nil, err
	}
	s, err := decodeSet(message)
	if err != nil {
		return nil, err
	}
	s.single = map[string]*element{}
	k.sets[key] = s
	return s, nil
}

// element returns an element of a set. Without a key it reads all of them.
func (k *kernel) element(t tableKey, s *set, key []byte) (*element, error) {
	const table, name, elements, item, elementKey, elementFlags, value = 1, 2, 3, 1, 1, 3, 1
	ask := []attribute{textAttribute(table, t.name), textAttribute(name, s.name)}
	if key == nil {
		s.read = true
		err := k.netlink.dump(getElement, t.family, ask, func(message []byte) error {
			return decodeElements(message, func(e *element) error {
				s.elements = append(s.elements, e)
				return k.keep()
			})
		})
		if errors.Is(err, errTooMany) {
			s.elements, s.problem = nil, err
			return nil, nil
		}
		s.closeIntervals()
		return nil, err
	}
	if e, asked := s.single[string(key)]; asked {
		return e, nil
	}
	get := func(inner attribute) (*element, error) {
		message, err := k.netlink.get(getElement, t.family, append(ask, nest(elements, nest(item, inner))))
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		var found *element
		err = decodeElements(message, func(e *element) error { found = e; return nil })
		return found, err
	}
	e, err := get(nest(elementKey, attribute{value, key}))
	if err == nil && e == nil {
		other, asked := s.single[""]
		if !asked {
			// Kernels before 5.13 have no catch-all element and answer EINVAL.
			other, err = get(attribute{elementFlags, []byte{0, 0, 0, elementOther}})
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
				other, err = nil, nil
			}
			s.single[""] = other
		}
		e = other
	}
	if err == nil {
		s.single[string(key)] = e
		err = k.keep()
	}
	return e, err
}
