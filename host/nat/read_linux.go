package nat

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

// errChanged is for rules, interfaces, addresses or routes that changed while they were
// read.
var errChanged = errors.New("the rules or the addresses changed while they were read")

const maxTries = 5

// Read answers questions about the network namespace of the calling thread. The
// answers have the order of the questions. It needs CAP_NET_ADMIN in the user
// namespace that owns the network namespace; without that the error is an
// *Unreadable.
func Read(ctx context.Context, questions []Question) ([]Answer, error) {
	return new(Reading).Answer(ctx, questions)
}

// Reading is a Read that has begun before its questions are known: which chains there are
// does not depend on these. The zero value has read nothing.
type Reading struct {
	begun  bool
	kernel *kernel
	err    error
}

// Begin reads which chains there are. The caller closes the Reading.
func Begin(ctx context.Context) *Reading {
	k, err := openKernel(ctx)
	return &Reading{true, k, err}
}

// Answer answers as Read does, once.
func (r *Reading) Answer(ctx context.Context, questions []Question) ([]Answer, error) {
	defer r.Close()
	if err := validate(questions); err != nil || len(questions) == 0 {
		return nil, err
	}
	return again(ctx, func() ([]Answer, error) {
		k, err := r.take(ctx)
		if err != nil {
			return nil, err
		}
		defer k.close()
		answers, err := k.answer(ctx, questions)
		if err != nil {
			return nil, err
		}
		return answers, k.unchanged()
	})
}

// take returns what was read, or reads it.
func (r *Reading) take(ctx context.Context) (*kernel, error) {
	if !r.begun {
		return openKernel(ctx)
	}
	k, err := r.kernel, r.err
	*r = Reading{}
	if k != nil {
		k.setContext(ctx)
	}
	return k, err
}

// Close ends a Reading that nobody has asked.
func (r *Reading) Close() {
	if r.kernel != nil {
		r.kernel.close()
	}
	*r = Reading{}
}

// again reads rules, again if they changed meanwhile.
func again[T any](ctx context.Context, read func() (T, error)) (T, error) {
	var none T
	for try := 1; ; try++ {
		result, err := read()
		var problem *Unreadable
		switch {
		case err == nil:
			return result, nil
		case errors.Is(err, errChanged) && try < maxTries && ctx.Err() == nil:
			continue
		case !errors.As(err, &problem):
			problem = &Unreadable{Op: "read", Err: err}
		}
		problem.Possible = true
		// A sandbox denies the family of netlink sockets, which every Linux has.
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EAFNOSUPPORT) {
			virtual, err := readIPVS()
			problem.Possible = mayTranslate() || mayProxy() || err != nil || len(virtual) > 0
		}
		return none, problem
	}
}

// source is where the messages of nf_tables come from.
type source interface {
	// get returns one object as a message without the netlink header.
	get(kind uint16, family uint8, ask []attribute) ([]byte, error)
	// dump calls each for every object.
	dump(kind uint16, family uint8, ask []attribute, each func(message []byte) error) error
	// singly reports whether elements of sets can be asked for one by one.
	singly() bool
	close()
}

// kernel is the ruleset of a network namespace.
type kernel struct {
	filter     *filter
	source     source // nil if there is no nf_tables
	generation uint32
	base       []baseChain
	rewriting  []rewriter
	kinds      map[tableKey]bool  // tables for setsKind
	names      map[uint8][]string // of the tables of x_tables, by family
	readTable  func(family uint8, name string) (legacyInfo, []byte, error)
	legacy     map[tableKey]legacyTable
	chains     map[chainKey][]rule
	sets       map[chainKey]*set
	ipvs       []byte // what readIPVS returned
	services   map[tableKey]legacyTable
	ipsets     *ipsets // nil if they can't be asked
	kept       int
}

type chainKey struct {
	table tableKey
	name  string
}

// Messages of nf_tables.
const (
	getTable   = unix.NFNL_SUBSYS_NFTABLES<<8 | 1
	getChain   = unix.NFNL_SUBSYS_NFTABLES<<8 | 4
	getRule    = unix.NFNL_SUBSYS_NFTABLES<<8 | 7
	getSet     = unix.NFNL_SUBSYS_NFTABLES<<8 | 10
	getElement = unix.NFNL_SUBSYS_NFTABLES<<8 | 13
	getGen     = unix.NFNL_SUBSYS_NFTABLES<<8 | 16
)

// openKernel reads which chains there are.
func openKernel(ctx context.Context) (*kernel, error) {
	k := &kernel{names: map[uint8][]string{}, readTable: readLegacyTable, ipsets: &ipsets{ctx: ctx}}
	for _, family := range []uint8{familyIPv4, familyIPv6} {
		names, err := legacyTables(family)
		if err != nil {
			return nil, err
		}
		if len(names) > 0 {
			k.names[family] = names
		}
	}
	var err error
	if k.ipvs, err = readIPVS(); err != nil {
		return nil, err
	}
	n, err := openNfnetlink(ctx)
	if err != nil {
		if without(err) {
			return k, nil
		}
		return nil, err
	}
	k.source = n
	if err := k.readBases(); err != nil {
		k.close()
		if without(err) {
			k.source = nil
			return k, nil
		}
		return nil, err
	}
	return k, nil
}

// empty reports whether no chain can send callers away.
func (k *kernel) empty() bool { return len(k.base) == 0 && len(k.names) == 0 && len(k.ipvs) == 0 }

// answer answers questions by the rules that they need.
func (k *kernel) answer(ctx context.Context, questions []Question) ([]Answer, error) {
	if k.empty() {
		return make([]Answer, len(questions)), nil
	}
	m, err := readMachine(ctx)
	if err != nil {
		return nil, err
	}
	k.filter = newFilter(questions, m)
	k.legacy, k.chains, k.sets = map[tableKey]legacyTable{}, map[chainKey][]rule{}, map[chainKey]*set{}
	if err := k.readLegacy(); err != nil {
		return nil, err
	}
	if err := k.addIPVS(); err != nil {
		return nil, err
	}
	return answer(ctx, questions, k, m)
}

// without reports whether the kernel has no nf_tables. nfnetlink answers EINVAL
// for a subsystem that it does not have, and gVisor has no nfnetlink.
func without(err error) bool {
	return errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)
}

// setContext makes ctx that of the requests that follow.
func (k *kernel) setContext(ctx context.Context) {
	k.ipsets.ctx = ctx
	if n, ok := k.source.(*nfnetlink); ok {
		n.ctx = ctx
	}
}

func (k *kernel) close() {
	if k.source != nil {
		k.source.close()
	}
	if k.ipsets != nil {
		k.ipsets.close()
	}
}

func (k *kernel) readGeneration() (uint32, error) {
	const id = 1
	message, err := k.source.get(getGen, 0, nil)
	if err != nil {
		return 0, err
	}
	_, a, err := decodeHeader(message)
	return a.number(id), err
}

func (k *kernel) unchanged() error {
	if k.source == nil {
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
	err = k.source.dump(getTable, 0, nil, func(message []byte) error {
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
	err = k.source.dump(getChain, 0, nil, func(message []byte) error {
		b, ok, err := decodeChain(message)
		ways := b.hook == hookPrerouting || b.hook == hookOutput || !b.nat && (b.hook == hookInput || b.hook == hookPostrouting || b.hook == hookIngress || b.hook == hookEgress)
		if ok && !asleep[b.table] && familyNames[b.table.family] != "" && ways {
			k.base = append(k.base, b)
		}
		return err
	})
	if err != nil {
		return err
	}
	return k.readRewriters()
}

// readRewriters finds the rules that change headers. Only tables that have some are
// followed at the hooks where there is no NAT of the called end.
func (k *kernel) readRewriters() error {
	found := map[tableKey]bool{}
	k.kinds = map[tableKey]bool{}
	for _, b := range k.base {
		if _, read := found[b.table]; read || b.nat {
			continue
		}
		all, err := k.rewritersOf(b.table)
		if err != nil {
			return err
		}
		k.rewriting = append(k.rewriting, all...)
		found[b.table] = len(all) > 0
	}
	k.base = slices.DeleteFunc(k.base, func(b baseChain) bool {
		return (b.hook == hookInput || b.hook == hookPostrouting) && !found[b.table]
	})
	return nil
}

// rewritersOf finds those of a table that a chain without NAT leads to: such a table of
// kube-proxy has many others. Beyond some chains it reads all rules at once.
func (k *kernel) rewritersOf(t tableKey) ([]rewriter, error) {
	const mostChains = 64
	var all []rewriter
	var chains, maps []string
	for _, b := range k.base {
		if b.table == t && !b.nat {
			chains = append(chains, b.name)
		}
	}
	lead := func(v verdict) {
		if v.chain != "" && !slices.Contains(chains, v.chain) {
			chains = append(chains, v.chain)
		}
	}
	read := func(ask ...attribute) error {
		return k.source.dump(getRule, t.family, append(ask, textAttribute(objectTable, t.name)), func(message []byte) error {
			r, steps, err := decodeRewriters(t, message)
			all = append(all, r...)
			for _, s := range steps {
				switch s := s.(type) {
				case verdict:
					lead(s)
				case lookup:
					if s.verdict && !slices.Contains(maps, s.set) {
						maps = append(maps, s.set)
					}
				case storeKind:
					k.kinds[t] = true
				}
			}
			return err
		})
	}
	mapsRead := 0
	for i := 0; i < len(chains); i++ {
		if len(chains) > mostChains {
			all = nil
			err := read()
			return all, err
		}
		if err := read(textAttribute(objectName, chains[i])); err != nil {
			return nil, err
		}
		for ; mapsRead < len(maps); mapsRead++ {
			ask := []attribute{textAttribute(objectTable, t.name), textAttribute(objectName, maps[mapsRead])}
			err := k.source.dump(getElement, t.family, ask, func(message []byte) error {
				return decodeElements(message, func(e *element) error { lead(e.verdict); return nil })
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func (k *kernel) rewriters() []rewriter { return k.rewriting }

func (k *kernel) setsKind(t tableKey) bool { return k.kinds[t] }

func (k *kernel) mayChangeReplies(t tableKey) bool {
	return slices.ContainsFunc(k.rewriting, func(r rewriter) bool { return r.table == t }) ||
		t.family == familyNetdev && slices.ContainsFunc(k.base, func(b baseChain) bool { return b.table == t && b.hook == hookEgress })
}

// readLegacy decodes the tables of x_tables. Their order among the others is not
// known. They are first here, and walk.either follows both orders.
func (k *kernel) readLegacy() error {
	others := k.base
	k.base = nil
	for _, family := range []uint8{familyIPv4, familyIPv6} {
		for _, name := range k.names[family] {
			info, entries, err := k.readTable(family, name)
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
	k.base = append(k.base, others...)
	return nil
}

func (k *kernel) bases(family uint8) []baseChain {
	var all []baseChain
	for _, b := range k.base {
		if b.table.family == family || b.table.family == familyInet || b.table.family == familyNetdev {
			all = append(all, b)
		}
	}
	return append(all, k.services[tableKey{family: family, name: ipvsTable}].bases...)
}

func (k *kernel) rules(t tableKey, chain string) ([]rule, error) {
	if t.legacy {
		return k.legacy[t].chains[chain], nil
	}
	if chain == "" {
		return k.services[t].chains[chain], nil
	}
	key := chainKey{t, chain}
	if rules, read := k.chains[key]; read {
		return rules, nil
	}
	const table, name = 1, 2
	var rules []rule
	w := k.filter.walk(t.family)
	if k.mayChangeReplies(t) {
		w = nil // conditions on replies are about other ports and addresses
	}
	err := k.source.dump(getRule, t.family, []attribute{textAttribute(table, t.name), textAttribute(name, chain)}, func(message []byte) error {
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
	message, err := k.source.get(getSet, t.family, []attribute{textAttribute(table, t.name), textAttribute(setName, name)})
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
		err := k.source.dump(getElement, t.family, ask, func(message []byte) error {
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
	if !k.source.singly() {
		return k.elementOfAll(t, s, key)
	}
	if e, asked := s.single[string(key)]; asked {
		return e, nil
	}
	get := func(inner attribute) (*element, error) {
		message, err := k.source.get(getElement, t.family, append(ask, nest(elements, nest(item, inner))))
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

// elementOfAll returns the element with exactly this key of a set whose elements
// can't be asked for one by one.
func (k *kernel) elementOfAll(t tableKey, s *set, key []byte) (*element, error) {
	if !s.read {
		if _, err := k.element(t, s, nil); err != nil {
			return nil, err
		}
	}
	if s.problem != nil {
		return nil, s.problem
	}
	const other = ""
	if len(s.single) == 0 {
		s.single[other] = nil
		for _, e := range s.elements {
			if e.flags&elementOther != 0 {
				s.single[other] = e
			} else {
				s.single[string(e.key)] = e
			}
		}
	}
	if e := s.single[string(key)]; e != nil {
		return e, nil
	}
	return s.single[other], nil
}
