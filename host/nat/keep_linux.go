package nat

import (
	"bytes"
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// maxBytes bounds what is kept of the kernel's messages: some 100,000 rules.
const maxBytes = 48 << 20

// Rules are the rules of a network namespace at one moment. Questions about them
// need no rights.
type Rules struct {
	err        error // why they could not be read
	base       []baseChain
	rewriting  []rewriter
	kinds      map[tableKey]bool
	names      map[uint8][]string
	tables     map[tableKey]legacyBytes
	rules      map[chainKey][][]byte
	sets       map[chainKey][]byte
	elements   map[chainKey][][]byte
	ipvs       []byte
	bytes      int
	noNftables bool
}

type legacyBytes struct {
	info    legacyInfo
	entries []byte
}

// Keep reads all rules that can send callers away, and keeps them in the form in
// which the kernel sends them. If they can't be read, Answer returns the error.
func Keep(ctx context.Context) *Rules {
	r, err := again(ctx, func() (*Rules, error) {
		k, err := openKernel(ctx)
		if err != nil {
			return nil, err
		}
		defer k.close()
		r := &Rules{
			base: k.base, rewriting: k.rewriting, kinds: k.kinds, names: k.names, ipvs: k.ipvs, noNftables: k.source == nil, tables: map[tableKey]legacyBytes{},
			rules: map[chainKey][][]byte{}, sets: map[chainKey][]byte{}, elements: map[chainKey][][]byte{},
		}
		if err := r.readAll(k); err != nil {
			return nil, err
		}
		return r, k.unchanged()
	})
	if err != nil {
		return &Rules{err: err}
	}
	return r
}

// Answer answers questions as Read does.
func (r *Rules) Answer(ctx context.Context, questions []Question) ([]Answer, error) {
	if err := validate(questions); err != nil || len(questions) == 0 {
		return nil, err
	}
	if r.err != nil {
		return nil, r.err
	}
	k := &kernel{base: r.base, rewriting: r.rewriting, kinds: r.kinds, names: r.names, ipvs: r.ipvs, readTable: func(family uint8, name string) (legacyInfo, []byte, error) {
		t := r.tables[tableKey{family, name, true}]
		return t.info, t.entries, nil
	}}
	if !r.noNftables {
		k.source = keptSource{r}
	}
	answers, err := k.answer(ctx, questions)
	var problem *Unreadable
	if err != nil && !errors.As(err, &problem) {
		problem = &Unreadable{Op: "read", Err: err}
	}
	if problem != nil {
		problem.Possible = true
		return nil, problem
	}
	return answers, nil
}

func (r *Rules) readAll(k *kernel) error {
	for family, names := range k.names {
		for _, name := range names {
			info, entries, err := readLegacyTable(family, name)
			if err == nil {
				err = r.count(len(entries))
			}
			if err != nil {
				return err
			}
			r.tables[tableKey{family, name, true}] = legacyBytes{info, entries}
		}
	}
	read := map[tableKey]bool{}
	for _, b := range k.base {
		if read[b.table] {
			continue
		}
		read[b.table] = true
		if err := r.readTable(k, b.table); err != nil {
			return err
		}
	}
	return nil
}

// readTable reads all rules and sets of a table of nf_tables.
func (r *Rules) readTable(k *kernel, t tableKey) error {
	ask := []attribute{textAttribute(objectTable, t.name)}
	err := k.source.dump(getRule, t.family, ask, r.keep(t, r.rules))
	if err != nil {
		return err
	}
	all := map[chainKey][][]byte{}
	if err := k.source.dump(getSet, t.family, ask, r.keep(t, all)); err != nil {
		return err
	}
	for key, messages := range all {
		r.sets[key] = messages[0]
		ask := []attribute{textAttribute(objectTable, t.name), textAttribute(objectName, key.name)}
		if err := k.source.dump(getElement, t.family, ask, r.keep(t, r.elements)); err != nil {
			return err
		}
	}
	return nil
}

// keep returns a function that adds messages of a table's objects by their chain or
// set.
func (r *Rules) keep(t tableKey, to map[chainKey][][]byte) func(message []byte) error {
	return func(message []byte) error {
		_, a, err := decodeHeader(message)
		if err == nil {
			err = r.count(len(message))
		}
		if err != nil || a.text(objectTable) != t.name {
			return err
		}
		key := chainKey{t, a.text(objectName)}
		to[key] = append(to[key], bytes.Clone(message))
		return nil
	}
}

func (r *Rules) count(size int) error {
	if r.bytes += size; r.bytes > maxBytes {
		return errTooMany
	}
	return nil
}

// keptSource answers as nf_tables does, from what was kept.
type keptSource struct{ *Rules }

func (s keptSource) get(kind uint16, family uint8, ask []attribute) ([]byte, error) {
	if message, known := s.sets[keyAsked(family, ask)]; known && kind == getSet {
		return message, nil
	}
	return nil, unix.ENOENT
}

func (s keptSource) dump(kind uint16, family uint8, ask []attribute, each func(message []byte) error) error {
	messages := s.rules
	if kind == getElement {
		messages = s.elements
	}
	for _, m := range messages[keyAsked(family, ask)] {
		if err := each(m); err != nil {
			return err
		}
	}
	return nil
}

func keyAsked(family uint8, ask []attribute) chainKey {
	key := chainKey{table: tableKey{family: family}}
	for _, a := range ask {
		switch a.kind {
		case objectTable:
			key.table.name = cString(a.value)
		case objectName:
			key.name = cString(a.value)
		}
	}
	return key
}

func (keptSource) singly() bool { return false }

func (keptSource) close() {}
