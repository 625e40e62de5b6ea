package check

import (
	"testing"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

func TestRefuseOutsiders(t *testing.T) {
	holder := func(uid int, job *HolderJob) Holder {
		return Holder{PID: 4711, UID: &uid, Origin: &Origin{Job: job}}
	}
	own, other := &HolderJob{Name: "mine", Own: true}, &HolderJob{Name: "theirs"}
	unread := Holder{PID: 4712}
	const user, stranger = 1000, 1001
	for _, c := range []struct {
		name     string
		holders  []Holder
		as       int
		owner    bool
		nameless bool // the job
		want     string
	}{
		{name: "the job itself", holders: []Holder{holder(user, own)}, as: user},
		{name: "the job itself as another user", holders: []Holder{holder(stranger, own)}, as: user},
		{name: "no job is known", holders: []Holder{holder(user, nil), unread}, as: user},
		{name: "another job", holders: []Holder{holder(user, other)}, as: user, want: "job theirs"},
		{name: "another job beside the own one", holders: []Holder{holder(user, own), holder(user, other)}, as: user, want: "job theirs"},
		{name: "another job of the owner", holders: []Holder{holder(user, other)}, as: user, owner: true, want: "job theirs"},
		{name: "any job if this one has no name", holders: []Holder{holder(user, other)}, as: user, nameless: true},
		{name: "another user", holders: []Holder{holder(stranger, nil)}, as: user, want: "uid 1001"},
		{name: "another user who is the owner", holders: []Holder{holder(stranger, nil)}, as: user, owner: true},
		{name: "another user's job if this one has no name", holders: []Holder{holder(stranger, other)}, as: user, nameless: true, want: "uid 1001"},
		{name: "an engine", holders: []Holder{holder(0, nil)}, as: user},
		{name: "a service that root starts", holders: []Holder{holder(stranger, nil)}, as: 0},
	} {
		n := needOf("a.yml", "web", func(n *Need) {
			n.Expect = config.Listening
			if c.owner {
				n.Owner = []config.Owner{{Process: "web"}}
			}
		})
		before := Result{ID: n.ID(port.TCP), Expect: config.Listening, Status: Listening, OK: true, Severity: config.SeverityError, Message: "served", Holders: c.holders, UID: &c.as}
		unknown := before
		unknown.Status, unknown.OK = Unknown, false
		r := Report{Results: []Result{before, unknown}}
		r.RefuseOutsiders([]Need{n}, !c.nameless, func(o Outsider) string {
			if o.Job != nil {
				return " by job " + o.Job.Name
			}
			return " by " + o.User
		})
		status, message := Listening, "served"
		if c.want != "" {
			status, message = WrongOwner, "served by "+c.want
		}
		if x := r.Results[0]; x.Status != status || x.OK != (c.want == "") || x.Message != message || r.Summary.OK != map[bool]int{true: 1}[x.OK] {
			t.Errorf("%s: %s, ok %t: %s; %+v", c.name, x.Status, x.OK, x.Message, r.Summary)
		}
		if x := r.Results[1]; x.Status != Unknown || x.Message != "served" {
			t.Errorf("%s: what is unknown becomes %s: %s", c.name, x.Status, x.Message)
		}
	}
}
