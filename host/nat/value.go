package nat

// tri is the answer to whether something holds for the callers in question.
type tri int8

const (
	no tri = iota
	maybe
	yes
)

func triOf(b bool) tri {
	if b {
		return yes
	}
	return no
}

func (t tri) not() tri { return yes - t }

func (t tri) xor(invert bool) tri {
	if invert {
		return t.not()
	}
	return t
}

// join is for callers of two kinds.
func (t tri) join(u tri) tri {
	if t == u {
		return t
	}
	return maybe
}

// A partial is a number of which only the bits of known are known.
type partial struct{ value, known uint32 }

func exactly(v uint32) partial { return partial{v, ^uint32(0)} }

func (p partial) join(q partial) partial {
	known := p.known & q.known &^ (p.value ^ q.value)
	return partial{p.value & known, known}
}

// and, xor and merge are bit operations.
func (p partial) and(mask uint32) partial {
	return partial{p.value & mask, p.known | ^mask}
}

func (p partial) xor(q partial) partial {
	known := p.known & q.known
	return partial{(p.value ^ q.value) & known, known}
}

// equals compares the bits of mask with those of want.
func (p partial) equals(want, mask uint32) tri {
	switch {
	case want&^mask != 0, (p.value^want)&p.known&mask != 0:
		return no
	case p.known&mask == mask:
		return yes
	}
	return maybe
}

// equalBits compares bytes of which only the bits of known are known.
func equalBits(value, known, want []byte) tri {
	result := yes
	for i := range want {
		if (value[i]^want[i])&known[i] != 0 {
			return no
		}
		if known[i] != 0xff {
			result = maybe
		}
	}
	return result
}

// compareBits returns which of less, equal and greater are possible.
func compareBits(value, known, want []byte) (less, equal, greater bool) {
	// The smallest possible value has zeros for the unknown bits, the largest ones.
	smallest, largest := 0, 0
	for i := range want {
		if smallest == 0 {
			smallest = order(value[i]&known[i], want[i])
		}
		if largest == 0 {
			largest = order(value[i]|^known[i], want[i])
		}
	}
	return smallest < 0, smallest <= 0 && largest >= 0 && equalBits(value, known, want) != no, largest > 0
}

func order(a, b byte) int { return int(a) - int(b) }

// within reports whether a value is in the range from low to high.
func within(value, known, low, high []byte) tri {
	below, _, _ := compareBits(value, known, low)
	_, _, above := compareBits(value, known, high)
	lowLess, lowEqual, lowGreater := compareBits(value, known, low)
	highLess, highEqual, highGreater := compareBits(value, known, high)
	switch {
	case lowLess && !lowEqual && !lowGreater, highGreater && !highEqual && !highLess:
		return no
	case !below && !above:
		return yes
	}
	return maybe
}
