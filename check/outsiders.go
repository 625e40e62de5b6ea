package check

// Outsider is a process that serves a port of a job and does not belong to the job.
type Outsider struct {
	Job  *HolderJob // the other job that started it, nil if that is not why
	User string     // the other user that it runs as, as UserText has it
}

// RefuseOutsiders makes results unmet if a process of another job serves the port, or of
// another user, unless the need says whose it is. Engines serve as root for all users,
// and root starts services of all users. named is whether the job has a name: else those
// of others say nothing. words are for the end of a message.
func (r *Report) RefuseOutsiders(needs []Need, named bool, words func(Outsider) string) {
	owned := map[string]bool{}
	for _, n := range needs {
		for _, proto := range n.Protocols {
			owned[n.ID(proto)] = len(n.Owner) > 0
		}
	}
	for i := range r.Results {
		x := &r.Results[i]
		if o := x.outsider(named, owned[x.ID]); o != nil {
			x.Status, x.OK = WrongOwner, false
			x.Message += words(*o)
		}
	}
	r.Finish()
}

// outsider returns the first outsider that serves a port, or nil.
func (r Result) outsider(named, owned bool) *Outsider {
	if r.Status != Listening {
		return nil
	}
	for _, h := range r.Holders {
		job := h.From().Job
		switch {
		case job != nil && job.Own:
		case job != nil && named:
			return &Outsider{Job: job}
		case !owned && r.UID != nil && *r.UID > 0 && h.UID != nil && *h.UID > 0 && *h.UID != *r.UID:
			return &Outsider{User: UserText(clip(h.User, 32), h.UID)}
		}
	}
	return nil
}
