package netlink

import (
	"encoding/binary"
	"slices"
	"testing"
)

// attribute is one attribute that says this of its size.
func attribute(size, kind uint16, value ...byte) []byte {
	a := binary.NativeEndian.AppendUint16(nil, size)
	a = binary.NativeEndian.AppendUint16(a, kind)
	return append(a, value...)
}

func TestAttributes(t *testing.T) {
	next := attribute(4, 9)
	for name, c := range map[string]struct {
		list, value, rest []byte
		kind              uint16
		ok                bool
	}{
		"with padding":          {slices.Concat(attribute(5, 7, 1, 0, 0, 0), next), []byte{1}, next, 7, true},
		"without padding":       {attribute(5, 7, 1), []byte{1}, nil, 7, true},
		"with flags":            {slices.Concat(attribute(8, 0xc007, 1, 2, 3, 4), next), []byte{1, 2, 3, 4}, next, 7, true},
		"empty":                 {next, nil, nil, 9, true},
		"nothing":               {},
		"half a header":         {list: next[:3]},
		"shorter than a header": {list: attribute(3, 7, 1, 2, 3, 4)},
		"of no size":            {list: attribute(0, 7, 1, 2, 3, 4)},
		"longer than the list":  {list: attribute(9, 7, 1, 2, 3, 4)},
	} {
		kind, value, rest, ok := CutAttribute(c.list)
		if kind != c.kind || !slices.Equal(value, c.value) || !slices.Equal(rest, c.rest) || ok != c.ok {
			t.Errorf("%s: type %d, %v, %v, %t; want %d, %v, %v, %t", name, kind, value, rest, ok, c.kind, c.value, c.rest, c.ok)
		}
	}
	list := AppendAttribute(AppendAttribute(nil, 7, []byte{1, 2, 3}), 8, []byte{4})
	if want := slices.Concat(attribute(7, 7, 1, 2, 3, 0), attribute(5, 8, 4, 0, 0, 0)); !slices.Equal(list, want) {
		t.Errorf("appended: %v, want %v", list, want)
	}
	if _, value, _, _ := CutAttribute(attribute(5, 7, 1, 0, 0, 0)); cap(value) != 1 {
		t.Error("what is appended to a value is written over the next attribute")
	}
}
