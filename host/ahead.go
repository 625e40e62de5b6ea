package host

import (
	"slices"

	"github.com/org/portcheck/internal/panics"
)

// mostAhead is for how many sockets a search is begun before it is known that they
// matter: each is in memory twice meanwhile.
const mostAhead = 256

// ahead is a search for the holders of the sockets of the first pass over the table,
// which is made while the ports are bound: mostly no other sockets matter in the end.
type ahead struct {
	sockets []Socket
	gaps    []Gap
	done    <-chan *panics.Panic // nil: there is no search
}

// lookAhead begins the search.
func (p *probe) lookAhead() {
	if p.everyHolder() {
		return // that is long, and what recheck finds is part of it
	}
	if fewDescriptors() {
		return // a bind could get none meanwhile
	}
	sockets := p.sockets()
	if len(sockets) == 0 || len(sockets) > mostAhead || slices.ContainsFunc(sockets, couldBeCheck) {
		return // because of those the table is read again
	}
	for i := range sockets {
		sockets[i].Holders = slices.Clone(sockets[i].Holders) // recheck reads them
	}
	p.ahead.sockets = sockets
	p.ahead.done = panics.Beside(func() { p.ahead.gaps = p.search(p.ahead.sockets) })
}

// nameHolders finds the processes that hold the sockets that matter.
func (p *probe) nameHolders() {
	found := p.foundAhead()
	if len(p.facts.Sockets) == 0 {
		return
	}
	if slices.ContainsFunc(p.facts.Sockets, func(s Socket) bool { _, known := found[keyOf(s)]; return !known }) {
		p.addGaps(p.search(p.facts.Sockets))
		return
	}
	for i, s := range p.facts.Sockets {
		p.facts.Sockets[i] = found[keyOf(s)]
	}
	p.addGaps(p.ahead.gaps)
}

// foundAhead waits for the search that was begun. It returns nothing if the table was
// read again since: the holders may be others by now, too.
func (p *probe) foundAhead() map[socketKey]Socket {
	if p.ahead.done == nil {
		return nil
	}
	(<-p.ahead.done).Repanic()
	if p.readAgain {
		return nil
	}
	found := map[socketKey]Socket{}
	for _, s := range p.ahead.sockets {
		found[keyOf(s)] = s
	}
	return found
}

func (p *probe) everyHolder() bool {
	return p.req.Listeners || slices.ContainsFunc(p.req.Tries, func(t Try) bool { return t.Owners })
}

// search finds the holders of these sockets.
func (p *probe) search(sockets []Socket) []Gap {
	if len(sockets) == 0 {
		return nil
	}
	pointers := make([]*Socket, len(sockets))
	for i := range sockets {
		pointers[i] = &sockets[i]
	}
	return findHolders(p.ctx, pointers, holderQuery{p.everyHolder(), p.req.ShowCommand, !p.req.Listeners, p.req.MostHolders()})
}
