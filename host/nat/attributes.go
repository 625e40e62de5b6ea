package nat

import (
	"encoding/binary"
	"errors"

	"github.com/org/portcheck/host/internal/netlink"
)

var errBroken = errors.New("broken message")

// attributes are the attributes of a netlink message by their type. Those of a
// type that this package never needs are dropped.
type attributes [25][]byte

// eachAttribute calls each for every attribute, until it returns an error.
func eachAttribute(data []byte, each func(kind uint16, value []byte) error) error {
	for len(data) > 0 {
		kind, value, rest, ok := netlink.CutAttribute(data)
		if !ok {
			return errBroken
		}
		if err := each(kind, value); err != nil {
			return err
		}
		data = rest
	}
	return nil
}

func parseAttributes(data []byte) (attributes, error) {
	var all attributes
	err := eachAttribute(data, func(kind uint16, value []byte) error {
		if int(kind) < len(all) {
			all[kind] = value
		}
		return nil
	})
	return all, err
}

// number returns a number in network byte order, or 0 if it is missing.
func (a *attributes) number(kind int) uint32 {
	switch v := a[kind]; len(v) {
	case 4:
		return binary.BigEndian.Uint32(v)
	case 8:
		return uint32(binary.BigEndian.Uint64(v))
	case 2:
		return uint32(binary.BigEndian.Uint16(v))
	case 1:
		return uint32(v[0])
	}
	return 0
}

func (a *attributes) text(kind int) string { return cString(a[kind]) }

// nested returns the attribute inner of the attribute kind.
func (a *attributes) nested(kind, inner int) []byte {
	in, err := parseAttributes(a[kind])
	if err != nil {
		return nil
	}
	return in[inner]
}

// cString returns the text before the first zero byte.
func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// An attribute of a request.
type attribute struct {
	kind  uint16
	value []byte
}

const nestedFlag = 0x8000 // NLA_F_NESTED

func textAttribute(kind uint16, text string) attribute {
	return attribute{kind, append([]byte(text), 0)}
}

// nest returns an attribute that contains others.
func nest(kind uint16, inner ...attribute) attribute {
	a := attribute{kind: kind | nestedFlag}
	for _, i := range inner {
		a.value = netlink.AppendAttribute(a.value, i.kind, i.value)
	}
	return a
}
