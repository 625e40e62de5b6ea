package nat

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The texts of the steps, in about the words of nft and iptables.

var metaNames = map[uint32]string{
	metaProtocol: "meta protocol", metaMark: "meta mark", metaIif: "iif", metaOif: "oif", metaIifname: "iifname", metaOifname: "oifname",
	metaNfproto: "meta nfproto", metaL4proto: "meta l4proto", metaIiftype: "iiftype", metaOiftype: "oiftype", 10: "meta skuid", 11: "meta skgid", metaPkttype: "meta pkttype",
}

func (d *describer) is(at int, what string) {
	if at >= 0 && at < len(d.registers) {
		d.registers[at] = what
	}
}

func (d *describer) at(at int) string {
	if at < 0 || at >= len(d.registers) || d.registers[at] == "" {
		return "?"
	}
	return d.registers[at]
}

// all returns what is in the registers from at on.
func (d *describer) all(at, length int) string {
	words := []string{d.at(at)}
	for i := at + 4; i < min(at+length, len(d.registers)); i += 4 {
		if d.registers[i] != "" {
			words = append(words, d.registers[i])
		}
	}
	return strings.Join(words, " . ")
}

func (s loadMeta) text(d *describer) string {
	name := metaNames[s.key]
	if name == "" {
		name = fmt.Sprintf("meta %d", s.key)
	}
	d.is(s.at, name)
	return ""
}

func (s storeMark) text(d *describer) string {
	if s.connection {
		return "ct mark set " + d.at(s.at)
	}
	return "meta mark set " + d.at(s.at)
}

func (s storeKind) text(d *describer) string { return "meta pkttype set " + d.at(s.at) }

func (s loadPayload) text(d *describer) string {
	d.is(s.at, payloadName(s.base, s.offset, s.length))
	return ""
}

func payloadName(base uint32, offset, length int) string {
	switch {
	case base == baseLink && length == 2 && offset == etherType:
		return "ether type"
	case base == baseTransport && offset == portOffset && length == 2:
		return "dport"
	case base == baseTransport && offset == 0 && length == 2:
		return "sport"
	case base == baseNetwork && length == 4 && offset == 16:
		return "ip daddr"
	case base == baseNetwork && length == 4 && offset == 12:
		return "ip saddr"
	case base == baseNetwork && length == 16 && offset == 24:
		return "ip6 daddr"
	case base == baseNetwork && length == 16 && offset == 8:
		return "ip6 saddr"
	}
	return fmt.Sprintf("@%d,%d,%d", base, offset*8, length*8)
}

func (s storePayload) text(d *describer) string {
	return payloadName(s.base, s.offset, s.length) + " set " + d.at(s.at)
}

func (queue) text(*describer) string { return "queue" }

func (s loadCt) text(d *describer) string {
	name := map[uint32]string{ctState: "ct state", ctMark: "ct mark", ctProtoDst: "ct proto-dst"}[s.key]
	if name == "" {
		name = fmt.Sprintf("ct %d", s.key)
	}
	d.is(s.at, name)
	return ""
}

func (s loadFib) text(d *describer) string {
	name := "fib"
	if s.flags&fibFlagSaddr != 0 {
		name += " saddr"
	}
	if s.flags&fibFlagDaddr != 0 {
		name += " daddr"
	}
	if s.result == fibResultType {
		name += " type"
	}
	d.is(s.at, name)
	return ""
}

func (s loadRange) text(d *describer) string {
	d.is(s.at, fmt.Sprintf("%s mod %d", s.random, s.size))
	return ""
}

func (s loadUnknown) text(d *describer) string { return s.name + " ..." }

func (s immediate) text(d *describer) string {
	d.is(s.at, literal("", s.value))
	return ""
}

func (s compare) text(d *describer) string {
	what := d.at(s.at)
	op := [...]string{"", "!= ", "< ", "<= ", "> ", ">= "}[s.op]
	return what + " " + op + literal(what, s.want)
}

func (s inRange) text(d *describer) string {
	what, op := d.at(s.at), ""
	if s.invert {
		op = "!= "
	}
	return what + " " + op + literal(what, s.low) + "-" + literal(what, s.high)
}

// literal returns a value in the notation for what it is compared with.
func literal(what string, b []byte) string {
	switch {
	case what == "meta l4proto" && len(b) == 1:
		return protocolName(b[0])
	case what == "meta nfproto" && len(b) == 1 && b[0] == familyIPv4:
		return "ipv4"
	case what == "meta nfproto" && len(b) == 1 && b[0] == familyIPv6:
		return "ipv6"
	case strings.HasSuffix(what, "mark") && len(b) == 4, what == "ct state" && len(b) == 4:
		return fmt.Sprintf("%#x", number32(b))
	case strings.HasSuffix(what, "type") && len(b) == 4 && number32(b) == typeLocal:
		return "local"
	case strings.HasSuffix(what, "name"):
		return strconv.Quote(cString(b))
	case len(b) == 2:
		return strconv.Itoa(int(b[0])<<8 | int(b[1]))
	case len(b) == 4 || len(b) == 16:
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	case len(b) == 1:
		return strconv.Itoa(int(b[0]))
	}
	return "0x" + hex.EncodeToString(b)
}

func protocolName(p uint8) string {
	switch p {
	case protocolTCP:
		return "tcp"
	case protocolUDP:
		return "udp"
	}
	return strconv.Itoa(int(p))
}

func (s bitwise) text(d *describer) string {
	what := d.at(s.from)
	if s.mask != nil {
		what += " & " + literal(what, s.mask)
	}
	d.is(s.to, what)
	return ""
}

func (s byteOrder) text(d *describer) string {
	d.is(s.to, d.at(s.from))
	return ""
}

func (s lookup) text(d *describer) string {
	op := ""
	if s.invert {
		op = "!= "
	}
	what := d.all(s.at, registerBytes)
	switch {
	case s.verdict:
		return what + " vmap @" + s.set
	case s.mapping:
		d.is(s.to, what+" map @"+s.set)
		return ""
	}
	return what + " " + op + "@" + s.set
}

func (noTrack) text(*describer) string { return "notrack" }

func (s passes) text(*describer) string {
	if s.name == "counter" {
		return ""
	}
	return s.name
}

func (s some) text(*describer) string { return strings.TrimPrefix(s.name, "the match ") + " ..." }

func (s unknownStep) text(*describer) string { return s.name + " ..." }

func (v verdict) text(*describer) string {
	switch v.code {
	case verdictJump:
		return "jump " + v.chain
	case verdictGoto:
		return "goto " + v.chain
	}
	return [...]string{"drop", "accept", "continue", "continue", "return"}[v.code]
}

func (r natRange) text() string {
	t := ""
	if r.flags&rangeAddrs != 0 && r.minAddr.IsValid() {
		a, b := fromUnion(r.minAddr), fromUnion(r.maxAddr)
		if t = a.String(); a != b {
			t += "-" + b.String()
		}
		if a.Is6() && r.flags&rangePorts != 0 {
			t = "[" + t + "]"
		}
	}
	if r.flags&rangePorts != 0 {
		t += ":" + strconv.Itoa(int(r.minPort))
		if r.minPort != r.maxPort {
			t += "-" + strconv.Itoa(int(r.maxPort))
		}
	}
	return strings.TrimSpace(" to " + t)
}

// fromUnion returns the address of a union whose family is not known.
func fromUnion(a netip.Addr) netip.Addr {
	if b := a.As16(); a.Is6() && zero(b[4:]) && !zero(b[:4]) {
		return inFamily(a, familyIPv4)
	}
	return a
}

func (s dnat) text(*describer) string { return "dnat " + s.r.text() }

func (s redirect) text(*describer) string {
	s.r.flags &^= rangeAddrs
	if s.r.flags&rangePorts == 0 {
		return "redirect"
	}
	return "redirect " + s.r.text()
}

func (s dnatRegisters) text(d *describer) string {
	t := "dnat to"
	if s.minAddr >= 0 {
		t += " " + d.at(s.minAddr)
		if s.maxAddr >= 0 && s.maxAddr != s.minAddr {
			t += "-" + d.at(s.maxAddr)
		}
	}
	if s.minPort >= 0 && d.at(s.minPort) != "?" {
		if s.minAddr >= 0 {
			t += " port " + d.at(s.minPort)
		} else {
			t += " :" + d.at(s.minPort)
		}
		if s.maxPort >= 0 && s.maxPort != s.minPort {
			t += "-" + d.at(s.maxPort)
		}
	}
	return t
}

func (s redirectRegisters) text(d *describer) string {
	if s.minPort < 0 {
		return "redirect"
	}
	t := "redirect to :" + d.at(s.minPort)
	if s.maxPort >= 0 && s.maxPort != s.minPort {
		t += "-" + d.at(s.maxPort)
	}
	return t
}

func (s tproxy) text(*describer) string {
	to := s.to
	if to.Addr = fromUnion(to.Addr); to.Addr.IsUnspecified() {
		return fmt.Sprintf("tproxy to :%d", to.Port)
	}
	return "tproxy to " + to.String()
}

func (s tproxyRegisters) text(d *describer) string {
	t := "tproxy to"
	if s.addr >= 0 {
		t += " " + d.at(s.addr)
	}
	if s.port >= 0 {
		t += " :" + d.at(s.port)
	}
	return t
}

func (forward) text(*describer) string { return "fwd" }

func (s awayUnknown) text(*describer) string { return s.name + " ..." }

func (comment) text(*describer) string { return "" }

func (s portsMatch) text(*describer) string {
	t := protocolName(s.protocol)
	if s.source != [2]uint16{0, 0xffff} {
		t += " sport " + not(s.invertSource) + portsText(s.source)
	}
	if s.ports != [2]uint16{0, 0xffff} {
		t += " dport " + not(s.invert) + portsText(s.ports)
	}
	return t
}

func not(invert bool) string {
	if invert {
		return "!= "
	}
	return ""
}

func portsText(r [2]uint16) string {
	if r[0] == r[1] {
		return strconv.Itoa(int(r[0]))
	}
	return fmt.Sprintf("%d-%d", r[0], r[1])
}

func (s portList) text(*describer) string {
	var all []string
	for _, r := range s.ranges {
		all = append(all, portsText(r))
	}
	name := "dport "
	if !s.dest {
		name = "sport "
	}
	return name + not(s.invert) + "{ " + strings.Join(all, ", ") + " }"
}

func (s addrType) text(*describer) string {
	if s.dest == 1<<typeLocal {
		return "fib daddr type " + not(s.flags&invertDestType != 0) + "local"
	}
	return "addrtype ..."
}

func (s markMatch) text(*describer) string {
	name := "meta mark"
	if s.connection {
		name = "ct mark"
	}
	return fmt.Sprintf("%s & %#x == %s%#x", name, s.mask, not(s.invert), s.want)
}

func (s stateMatch) text(*describer) string {
	return fmt.Sprintf("ct state %s%#x", not(s.invert), s.mask)
}

func (s connMatch) text(*describer) string { return "conntrack ..." }

func (s addrRange) text(*describer) string { return "iprange ..." }

func (s setWrite) text(*describer) string { return "SET" }

func (s setMark) text(*describer) string { return fmt.Sprintf("meta mark set %#x/%#x", s.mark, s.mask) }

func (s connMark) text(*describer) string { return "CONNMARK ..." }

func (s entryHead) text(*describer) string {
	var words []string
	if p, counts := s.number(); counts {
		words = append(words, "meta l4proto "+not(s.inverts(invertProtocol))+protocolName(p))
	}
	for i, name := range []string{"saddr ", "daddr "} {
		mask := s.part(0, 2+i, s.addr)
		if zero(mask) {
			continue
		}
		a, _ := netip.AddrFromSlice(s.part(0, i, s.addr))
		bits := 0
		for _, m := range mask {
			for ; m&0x80 != 0; m <<= 1 {
				bits++
			}
		}
		t := netip.PrefixFrom(a, bits).String()
		if bits == a.BitLen() {
			t = a.String()
		}
		words = append(words, name+not(s.inverts([]byte{invertSource, invertDest}[i]))+t)
	}
	for i, name := range []string{"iifname ", "oifname "} {
		if mask := s.part(s.names+2*nameLength, i, nameLength); !zero(mask) {
			words = append(words, name+not(s.inverts([]byte{invertIn, invertOut}[i]))+strconv.Quote(cString(s.part(s.names, i, nameLength))))
		}
	}
	return strings.Join(words, " ")
}
