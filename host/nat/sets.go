package nat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
)

// Flags of sets and elements (enum nft_set_flags, nft_set_elem_flags).
const (
	setAnonymous = 1
	setInterval  = 4
	setMap       = 8
	setDynamic   = 0x20 // NFT_SET_EVAL: packets may change it
	setObject    = 0x40
	setConcat    = 0x80

	elementEnd   = 1
	elementOther = 2 // catch-all
)

// A set is a set or map of nf_tables.
type set struct {
	name      string
	flags     uint32
	keyLength int
	fields    []int // lengths of the parts of a key; nil if it has one
	verdicts  bool  // the data are verdicts
	// elements are all of them. They are read when they are first needed.
	elements []*element
	read     bool
	problem  error
	single   map[string]*element // by key: those that were asked for one by one, or all of them; the key "" is of the catch-all
}

// An element of a set. Its key is a range from key to last, both included. last is
// nil for a single key.
type element struct {
	key, last []byte
	flags     uint32
	data      []byte
	verdict   verdict
	sometimes bool // it has an expression, such as a limit
}

// singly reports whether elements can be asked for one by one.
func (s *set) singly() bool { return s.flags&(setInterval|setAnonymous) == 0 }

// found is the result of a lookup. elements are those that may be the one.
type found struct {
	matched  tri
	elements []*element
	byPort   bool // the key has the called port
	ports    int  // those with which the call would be found in the same way
}

// find looks up what is in the registers.
func (w *walk) find(l lookup) (found, error) {
	s, err := w.rules.set(w.chain.table, l.set)
	if err != nil {
		return found{}, err
	}
	if s == nil || s.keyLength == 0 || !fits(l.at, s.keyLength) || l.mapping && l.verdict != s.verdicts {
		return found{}, errors.New("the set " + l.set + " can't be read")
	}
	if s.flags&setDynamic != 0 {
		return found{}, errors.New("packets can change the set " + l.set) // the first call may be what the set lacks
	}
	value, known := w.reg.value[l.at:l.at+s.keyLength], w.reg.known[l.at:l.at+s.keyLength]
	var f found
	switch n := w.reg.number; {
	case n.size > 0 && n.at == l.at && s.keyLength == 4 && n.size <= maxNumbers:
		f, err = w.findNumbers(s, n.first, n.size)
	default:
		f, err = w.findKey(s, value, known)
	}
	if err != nil {
		return found{}, err
	}
	for _, e := range f.elements {
		if e.last == nil {
			w.mark(l.at, e.key, e.key)
		} else {
			w.mark(l.at, e.key, e.last)
		}
	}
	f.byPort = w.reg.selectsPort(l.at, s.keyLength)
	switch {
	case !f.byPort:
	case !s.singly():
		f.ports = s.countPorts(&w.reg, l.at, ofPort, func(e *element) bool {
			return f.matched == no || !l.verdict || slices.ContainsFunc(f.elements, func(o *element) bool { return o.verdict == e.verdict })
		})
	case slices.ContainsFunc(f.elements, func(e *element) bool { return e.flags&elementOther != 0 }):
		f.ports = everyNumber
	default:
		f.ports = 1 // single keys are few
	}
	return f, nil
}

// maxNumbers is the largest modulus of numgen whose numbers are all looked up.
const maxNumbers = 1024

// countPorts returns how many ports of the called end or of the caller a set has, beside
// what else is in the registers, in those elements that count.
func (s *set) countPorts(r *registers, at int, c content, counts func(*element) bool) int {
	known := bytes.Clone(r.known[at : at+s.keyLength])
	first := -1
	for i := range known {
		if r.is[at+i] == c {
			known[i] = 0
			if first < 0 {
				first = i
			}
		}
	}
	value := r.value[at : at+s.keyLength]
	if first < 0 || first+1 >= s.keyLength || r.is[at+first+1] != c {
		return 1
	}
	var counted, others [][2]uint16
	rest := false
	for _, e := range s.elements {
		if e.flags&elementOther != 0 {
			rest = counts(e)
			continue
		}
		if e.match(s, value, known) == no {
			continue
		}
		low := binary.BigEndian.Uint16(e.key[first:])
		ports := [2]uint16{low, low}
		if e.last != nil {
			ports[1] = binary.BigEndian.Uint16(e.last[first:])
		}
		if counts(e) {
			counted = append(counted, ports)
		} else {
			others = append(others, ports)
		}
	}
	if rest {
		return everyNumber - countPorts(others...)
	}
	return max(countPorts(counted...), 1)
}

// findNumbers looks up each number of a range.
func (w *walk) findNumbers(s *set, first, size uint32) (found, error) {
	all := found{matched: yes}
	for n := first; n < first+size; n++ {
		var r registers
		r.storeNumber(0, exactly(n))
		f, err := w.findKey(s, r.value[:4], r.known[:4])
		if err != nil {
			return found{}, err
		}
		if f.matched != yes {
			all.matched = maybe
		}
		for _, e := range f.elements {
			if !slices.Contains(all.elements, e) {
				all.elements = append(all.elements, e)
			}
		}
	}
	if len(all.elements) == 0 {
		all.matched = no
	}
	return all, nil
}

func (w *walk) findKey(s *set, value, known []byte) (found, error) {
	if s.singly() && !slices.ContainsFunc(known, func(k byte) bool { return k != 0xff }) {
		e, err := w.rules.element(w.chain.table, s, value)
		if err != nil || e == nil {
			return found{}, err
		}
		return found{matched: e.certainty(), elements: []*element{e}}, nil
	}
	if err := w.readAll(s); err != nil {
		return found{}, err
	}
	return s.match(value, known), nil
}

func (e *element) certainty() tri {
	if e.sometimes {
		return maybe
	}
	return yes
}

func (w *walk) readAll(s *set) error {
	if !s.read {
		_, err := w.rules.element(w.chain.table, s, nil)
		if err != nil {
			return err
		}
	}
	return s.problem
}

// match returns the elements that may have a key.
func (s *set) match(value, known []byte) found {
	f := found{matched: no}
	var other *element
	for _, e := range s.elements {
		if e.flags&elementOther != 0 {
			other = e
			continue
		}
		m := e.match(s, value, known)
		if m == no {
			continue
		}
		f.elements = append(f.elements, e)
		f.matched = max(f.matched, min(m, e.certainty()))
		if m == yes {
			f.elements = f.elements[len(f.elements)-1:]
			return f
		}
	}
	if other != nil {
		f.elements = append(f.elements, other)
		f.matched = other.certainty()
	}
	return f
}

func (e *element) match(s *set, value, known []byte) tri {
	if len(e.key) != s.keyLength {
		return no
	}
	if e.last == nil {
		return equalBits(value, known, e.key)
	}
	if len(e.last) != s.keyLength {
		return no
	}
	if s.fields == nil {
		return within(value, known, e.key, e.last)
	}
	result, at := yes, 0
	for _, length := range s.fields {
		end := at + length
		if end > s.keyLength {
			return maybe
		}
		result = min(result, within(value[at:end], known[at:end], e.key[at:end], e.last[at:end]))
		at += (length + 3) &^ 3
	}
	return result
}

// closeIntervals makes ranges of the elements of an interval set. The kernel lists
// the start of each, and an element with elementEnd behind its last key
// (nft_set_rbtree.c).
func (s *set) closeIntervals() {
	if s.flags&setInterval == 0 || s.fields != nil {
		return
	}
	all := s.elements
	slices.SortStableFunc(all, func(a, b *element) int {
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		return int(b.flags&elementEnd) - int(a.flags&elementEnd)
	})
	var ranges []*element
	for i, e := range all {
		switch {
		case e.flags&elementOther != 0:
			ranges = append(ranges, e)
			continue
		case e.flags&elementEnd != 0:
			continue
		}
		e.last = slices.Repeat([]byte{0xff}, len(e.key))
		for _, next := range all[i+1:] {
			if next.flags&elementOther == 0 && bytes.Compare(next.key, e.key) > 0 {
				e.last = before(next.key)
				break
			}
		}
		ranges = append(ranges, e)
	}
	s.elements = ranges
}

// before returns the number before a number greater than 0.
func before(key []byte) []byte {
	b := bytes.Clone(key)
	for i := len(b) - 1; i >= 0; i-- {
		b[i]--
		if b[i] != 0xff {
			break
		}
	}
	return b
}
