package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// UndeclaredFlag is where results about undeclared listeners come from.
const UndeclaredFlag = "--undeclared"

// mostUndeclared is how many ports with undeclared listeners are reported for one
// target.
const mostUndeclared = 100

// undeclared asks the target for its listeners and returns a result for each port with
// one that no need of the target declares, or one that says why these are not known.
func (r *round) undeclared(ctx context.Context) []Result {
	var facts host.Facts
	err := r.err // why it was not opened
	if r.host != nil {
		facts, err = r.askListeners(ctx)
	}
	if err != nil {
		n := r.undeclaredNeed("undeclared", port.Range{First: 1, Last: port.MaxPort}, port.TCP, []port.Address{port.Any})
		result := n.result(port.TCP)
		result.Status, result.Method, result.Endpoints = Unknown, None, []Endpoint{}
		result.Message = fmt.Sprintf("whether something listens that no need declares could not be determined: %s", err)
		return []Result{result}
	}
	byPort := map[socketKey][]host.Socket{}
	var keys []socketKey
	declared, ephemeral := r.declared(), facts.Limits.EphemeralPorts()
	for _, s := range facts.Sockets {
		client := s.Protocol == port.UDP && ephemeral.Has(s.Port) && !s.Kernel
		key := socketKey{s.Protocol, s.Port}
		if s.State != host.Listen || client || declared.has(s.Endpoint) {
			continue
		}
		if byPort[key] == nil {
			keys = append(keys, key)
		}
		byPort[key] = append(byPort[key], s)
	}
	keys = slices.DeleteFunc(keys, func(key socketKey) bool {
		outside := slices.ContainsFunc(byPort[key], func(s host.Socket) bool { return !s.Addr.Unmap().IsLoopback() && !s.OwnCallersOnly() })
		return !outside && !r.UndeclaredLoopback
	})
	slices.SortFunc(keys, func(a, b socketKey) int {
		return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port))
	})
	var all []Result
	for _, key := range keys[:min(len(keys), mostUndeclared)] {
		all = append(all, r.undeclaredResult(key, byPort[key], facts.Gaps))
	}
	if more := len(keys) - mostUndeclared; more > 0 {
		last := &all[mostUndeclared-1]
		last.Notices = append(last.Notices, Notice{Code: config.Degraded, Message: fmt.Sprintf("%d more ports with listeners that no need declares are not listed", more)})
	}
	return all
}

// undeclaredNeed returns what takes the place of a need in a result.
func (r *round) undeclaredNeed(name string, ports port.Range, proto port.Protocol, addresses []port.Address) Need {
	return Need{Target: r.Name, Port: config.Port{
		At: config.Position{File: UndeclaredFlag}, Name: name, Ports: ports, Protocols: []port.Protocol{proto},
		Addresses: addresses, Expect: config.Free, Severity: r.Undeclared,
	}}
}

func (r *round) undeclaredResult(key socketKey, sockets []host.Socket, gaps []host.Gap) Result {
	var addresses []port.Address
	for _, s := range sockets {
		if a := port.Address(address(s.Endpoint)); !slices.Contains(addresses, a) && len(addresses) < mostAddresses {
			addresses = append(addresses, a)
		}
	}
	n := r.undeclaredNeed(fmt.Sprintf("undeclared-%d", key.port), port.One(key.port), key.protocol, addresses)
	result := n.result(key.protocol)
	result.Status, result.Method, result.Endpoints = Undeclared, Table, []Endpoint{}
	result.OS = r.facts.Machine.OS
	result.Message = fmt.Sprintf("%s is served by %s, and no need declares it", n.subject(key.protocol), cmp.Or(describeAll(sockets), "a process that can't be seen"))
	n.listHolders(&result, sockets, gaps)
	n.noteUnseen(&result, sockets, gaps)
	r.listedMu.Lock()
	defer r.listedMu.Unlock()
	size, beyond := result.list(bytesOfHolders - r.listed)
	r.listed += size
	if beyond > 0 {
		complete := false
		result.Complete = &complete
		n.notify(&result, config.Degraded, "there are %d more holders than are listed", beyond)
	}
	return result
}

// mostAddresses is how many addresses of one port a result names.
const mostAddresses = 8

// declaration is the endpoints that needs declare, by protocol and port.
type declaration struct {
	ports map[port.Protocol]*port.Bits
	needs []Need
}

// declared returns what the needs of the target declare, whatever they expect there,
// also those that are left out of the run.
func (r *round) declared() declaration {
	d := declaration{ports: map[port.Protocol]*port.Bits{}}
	for _, proto := range port.Protocols {
		d.ports[proto] = new(port.Bits)
	}
	add := func(n Need) {
		if n.Expect.Connects() {
			return
		}
		for _, proto := range n.Protocols {
			d.ports[proto].AddSet(port.Set{n.Ports})
		}
		d.needs = append(d.needs, n)
	}
	for _, i := range r.own {
		n := r.needs[i]
		for _, proto := range n.Protocols {
			if result := r.results[resultKey{i, proto}]; n.Auto && result != nil {
				n.Ports = result.Ports() // the one that was chosen
			}
		}
		add(n)
	}
	for _, n := range r.Claimed {
		if n.Target == r.Name {
			add(n)
		}
	}
	return d
}

// has reports whether a need declares an endpoint or one that overlaps it: what is told
// of the need is then about the listener, too.
func (d declaration) has(e port.Endpoint) bool {
	if !d.ports[e.Protocol].Has(e.Port) {
		return false
	}
	return slices.ContainsFunc(d.needs, func(n Need) bool {
		return n.Ports.Contains(e.Port) && slices.Contains(n.Protocols, e.Protocol) && slices.ContainsFunc(n.Binding(e.Protocol).At(e.Port), e.Overlaps)
	})
}
