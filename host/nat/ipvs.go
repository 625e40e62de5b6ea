package nat

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ipvsTable is the name under which virtual services of IPVS are a table here. Its
// chain has no name, which no chain of nf_tables or x_tables lacks.
const ipvsTable = "ipvs"

// IPVS takes calls from the machine itself behind NAT, and others when they have been
// routed to it (ip_vs_ops4 of net/netfilter/ipvs/ip_vs_core.c).
const (
	priorityIPVSOutput = priorityNAT + 1
	priorityIPVSRouted = 1 << 20 // behind all chains of prerouting
)

func (b baseChain) isIPVS() bool { return b.priority == priorityIPVSRouted }

// virtualService is a service of IPVS and a step that sends calls to its servers.
type virtualService struct {
	protocol   uint8
	addr       netip.Addr
	port       uint16 // 0: every one
	mark       uint32 // not 0: the service has calls with this mark, and no address
	persistent bool
	servers    []realServer
	// perhaps is set if IPVS may leave calls alone.
	perhaps bool
}

// realServer is where a virtual service sends calls.
type realServer struct {
	addr   netip.Addr
	port   uint16
	masq   bool // by NAT; otherwise the packets stay as they are
	weight int  // 0: it gets no new calls
}

// decodeIPVS decodes /proc/net/ip_vs. wanted chooses services by the protocol and port;
// the protocol is 0 for those of a mark. Source: ip_vs_info_seq_show of
// net/netfilter/ipvs/ip_vs_ctl.c.
func decodeIPVS(text []byte, wanted func(virtualService) bool) ([]virtualService, error) {
	var all []virtualService
	take, number := false, 0
	for line := range bytes.Lines(text) {
		number++
		fields := strings.Fields(string(line))
		broken := func() ([]virtualService, error) {
			return nil, fmt.Errorf("%w: line %d of ip_vs", errBroken, number)
		}
		switch {
		case len(fields) == 0, number <= 3: // the heading
		case fields[0] == "->":
			if !take {
				continue
			}
			if len(fields) < 4 {
				return broken()
			}
			addr, port, ok := ipvsAddr(fields[1])
			weight, err := strconv.Atoi(fields[3])
			if !ok || err != nil {
				return broken()
			}
			s := &all[len(all)-1]
			s.servers = append(s.servers, realServer{addr, port, fields[2] == "Masq", weight})
		default:
			if len(fields) < 2 {
				return broken()
			}
			s := virtualService{persistent: slices.Contains(fields[2:], "persistent")}
			ok := true
			switch fields[0] {
			case "TCP":
				s.protocol = protocolTCP
			case "UDP":
				s.protocol = protocolUDP
			case "FWM":
				mark, err := strconv.ParseUint(fields[1], 16, 32)
				s.mark, ok = uint32(mark), err == nil && mark != 0
			default: // SCTP
				take = false
				continue
			}
			if s.mark == 0 && ok {
				s.addr, s.port, ok = ipvsAddr(fields[1])
			}
			if !ok {
				return broken()
			}
			if take = wanted(s); take {
				all = append(all, s)
			}
		}
	}
	// IPVS looks for a mark first, and for a service of every port last.
	slices.SortStableFunc(all, func(a, b virtualService) int { return a.order() - b.order() })
	return all, nil
}

func (s virtualService) order() int {
	switch {
	case s.mark != 0:
		return 0
	case s.port != 0 && !s.isFTP():
		return 1
	}
	return 2
}

// isFTP reports whether calls of other ports belong to the service, too: IPVS takes
// them for the data connections of FTP.
func (s virtualService) isFTP() bool {
	return s.protocol == protocolTCP && s.port == 21 && s.persistent
}

// ipvsAddr parses an address and port such as 0A010001:1F90 and
// [fd01:0000:0000:0000:0000:0000:0000:0001]:1F90.
func ipvsAddr(text string) (netip.Addr, uint16, bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return netip.Addr{}, 0, false
	}
	port, err := hex.DecodeString(text[i+1:])
	if err != nil || len(port) != 2 {
		return netip.Addr{}, 0, false
	}
	addr, inner := netip.Addr{}, strings.Trim(text[:i], "[]")
	if strings.Contains(inner, ":") {
		addr, err = netip.ParseAddr(inner)
	} else {
		var b []byte
		if b, err = hex.DecodeString(inner); err == nil && len(b) != 4 {
			err = errBroken
		}
		addr, _ = netip.AddrFromSlice(b) // not valid with an error
	}
	return addr, binary.BigEndian.Uint16(port), err == nil && addr.IsValid()
}

// families returns the families of calls that a service may take.
func (s virtualService) families() []uint8 {
	addr := s.addr
	if s.mark != 0 && len(s.servers) > 0 {
		addr = s.servers[0].addr // tunnels may lead to another family, and are rare
	}
	switch {
	case addr.Is4():
		return []uint8{familyIPv4}
	case addr.Is6():
		return []uint8{familyIPv6}
	}
	return []uint8{familyIPv4, familyIPv6}
}

// ipvsTables makes tables of virtual services.
func ipvsTables(services []virtualService) map[tableKey]legacyTable {
	tables := map[tableKey]legacyTable{}
	for _, s := range services {
		for _, family := range s.families() {
			key := tableKey{family: family, name: ipvsTable}
			t, made := tables[key]
			if !made {
				t.chains = map[string][]rule{}
				for hook, priority := range map[uint32]int32{hookPrerouting: priorityIPVSRouted, hookOutput: priorityIPVSOutput} {
					t.bases = append(t.bases, baseChain{table: key, hook: hook, priority: priority})
				}
			}
			t.chains[""] = append(t.chains[""], rule{steps: []step{s}})
			tables[key] = t
		}
	}
	return tables
}

func (s virtualService) run(w *walk) effect {
	if w.filter != nil {
		return matched
	}
	result := yes
	switch {
	case s.mark != 0:
		result = w.state.mark.equals(s.mark, ^uint32(0))
	case s.protocol != w.protocol, w.addr.IsValid() && w.addr != s.addr:
		result = no
	case !w.addr.IsValid():
		w.spots.mark(s.addr, s.addr)
		result = maybe
	}
	byPort := s.mark == 0 && s.port == w.port
	if s.mark == 0 && s.port != 0 && !byPort {
		if !s.isFTP() || w.port < 1024 {
			return ifMatched(no, "")
		}
		result = min(result, maybe)
	}
	if s.perhaps {
		result = min(result, maybe)
	}
	result = min(result, w.state.kind.equals(packetHost, ^uint32(0))) // ip_vs_in leaves others alone
	e := ifMatched(result, "it depends on IPVS")
	if result == no {
		return e
	}
	e.selects = byPort
	back, first := no, true
	for _, r := range s.servers {
		if r.weight == 0 {
			continue
		}
		t := Target{Addr: r.addr, Port: r.port}
		if !r.masq || t.Port == 0 {
			t.Port = w.port
		}
		var b tri
		if r.masq {
			b = min(w.isEndpoint(t.Addr), triOf(t.Port == w.port))
		} else {
			b = triOf(w.machine.isOwn(t.Addr)) // then it gets the packet as it is
		}
		if first {
			back, first = b, false
		}
		back = back.join(b)
		if b != yes && len(e.sent) < maxTargets {
			e.sent = append(e.sent, t)
		}
	}
	if first { // without a server IPVS refuses the call
		e.sent = []Target{{}}
	}
	e.back = back
	if back == maybe {
		w.unknown("it depends on the server that IPVS chooses")
	}
	e.goesOn = back == maybe
	return e
}

func (s virtualService) text(*describer) string {
	if s.mark != 0 {
		return fmt.Sprintf("virtual service of mark %#x", s.mark)
	}
	port := strconv.Itoa(int(s.port))
	if s.port == 0 {
		port = "*"
	}
	addr := s.addr.String()
	if s.addr.Is6() {
		addr = "[" + addr + "]"
	}
	return fmt.Sprintf("virtual service %s %s:%s", protocolName(s.protocol), addr, port)
}
