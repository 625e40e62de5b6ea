package netlink

import "encoding/binary"

// CutAttribute cuts the first attribute off a list of them. It returns its type without
// flags, its value and what is behind it. ok is false if there is no whole one.
func CutAttribute(list []byte) (kind uint16, value, rest []byte, ok bool) {
	const header, typeMask = 4, 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
	if len(list) < header {
		return 0, nil, nil, false
	}
	size := int(binary.NativeEndian.Uint16(list))
	if size < header || size > len(list) {
		return 0, nil, nil, false
	}
	return binary.NativeEndian.Uint16(list[2:]) & typeMask, list[header:size:size], list[min((size+3)&^3, len(list)):], true
}

// AppendAttribute appends an attribute to a list of them.
func AppendAttribute(list []byte, kind uint16, value []byte) []byte {
	list = binary.NativeEndian.AppendUint16(list, uint16(4+len(value)))
	list = binary.NativeEndian.AppendUint16(list, kind)
	list = append(list, value...)
	return append(list, make([]byte, -len(value)&3)...)
}
