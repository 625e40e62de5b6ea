package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
)

// supervisors are the names of programs that start a service again when it ends.
// A process can choose such a name, so it is a hint for people and proves nothing.
var supervisors = []string{"runsv", "s6-supervise", "supervise", "supervisord", "circusd", "monit", "perpd", "nodemon"}

// addRelations adds to a holder what it is to other processes: for whom it holds the
// port, and which process would replace it.
func addRelations(out *Holder, h host.Holder, s host.Socket) {
	out.Condition, out.Self = h.Condition, h.Self
	from := Origin{Master: h.Master, MasterUnseen: h.MasterUnseen, LeavesCopies: h.LeavesCopies, Starter: h.Starter}
	if above := h.Above; above != nil {
		from.Condition = above.Condition
		if above.Serves != nil {
			from.Serves = above.Serves.String()
		}
	}
	if len(s.Units) > 0 && slices.Contains(s.Units, h.Unit) {
		from.SocketUnit = s.Units[0]
	}
	if slices.Contains(supervisors, h.ParentName) || strings.HasPrefix(h.ParentName, "PM2 ") {
		from.Supervisor, from.SupervisorPID = h.ParentName, h.Parent
	}
	if h.OfScript && h.ParentName != "" {
		from.Shell, from.ShellPID = h.ParentName, h.Parent
	}
	if h.Job != nil {
		job := holderJob(*h.Job)
		from.Job = &job
	}
	if from != (Origin{}) {
		out.Origin = &from
	}
	if f, _ := host.ForwarderOf(h); f != nil {
		own := f.Own && h.Container == "" && !slices.Contains(h.Unseen, host.ContainerName)
		out.Forwarder = &Forwarder{Name: f.Name, For: string(f.For), Engine: f.Engine, LeftOver: h.LeftOver, Own: own}
	}
}

// mismatch returns why the first holder that is not an owner is none: the end of a
// sentence, empty if no holder is proven to be another.
func (n Need) mismatch(sockets []host.Socket, m host.Machine) string {
	for _, s := range sockets {
		for _, h := range s.Holders {
			if reason := n.foreignTo(h, s, m); reason != "" {
				return fmt.Sprintf("; pid %d is not the owner: %s", h.PID, reason)
			}
		}
	}
	return ""
}

// foreignTo returns why a holder is no owner of the need, empty if it may be one.
func (n Need) foreignTo(h host.Holder, s host.Socket, m host.Machine) string {
	reason := ""
	for _, o := range n.Owner {
		if isOwner(o, h, s, m) != foreign {
			return ""
		}
		if reason == "" {
			reason = differs(o, h, s, m)
		}
	}
	switch others := len(n.Owner) - 1; {
	case others == 1:
		reason += ", and the other owner does not match either"
	case others > 1:
		reason += fmt.Sprintf(", and the other %d owners don't match either", others)
	}
	return reason
}

// differs names the first key of an owner that a holder does not match.
func differs(o config.Owner, h host.Holder, s host.Socket, m host.Machine) string {
	var c host.ContainerInfo
	if h.ContainerInfo != nil {
		c = *h.ContainerInfo
	}
	for _, key := range []struct {
		name, want, has string
		only            config.Owner
	}{
		{"process", o.Process, processName(h), config.Owner{Process: o.Process}},
		{"executable", o.Executable, h.Executable, config.Owner{Executable: o.Executable}},
		{"unit", o.Unit, h.Unit, config.Owner{Unit: o.Unit}},
		{"container", o.Container, cmp.Or(c.Service, c.Name), config.Owner{Container: o.Container}},
		{"image", o.Image, c.Image, config.Owner{Image: o.Image}},
		{"compose", o.Compose, c.Compose, config.Owner{Compose: o.Compose}},
		{"user", o.User, h.User, config.Owner{User: o.User}},
	} {
		if key.want == "" || isOwner(key.only, h, s, m) != foreign {
			continue
		}
		if key.has == "" {
			none := map[string]string{"unit": "is in no unit", "container": "is in no container", "image": "is in no container", "compose": "is no Compose service"}
			return fmt.Sprintf("it %s, and owner wants %s", cmp.Or(none[key.name], "has no "+key.name), clip(key.want, 64))
		}
		if key.has == key.want {
			return fmt.Sprintf("its %s %s is in a file system of its own", key.name, clip(key.has, 64))
		}
		return fmt.Sprintf("its %s is %s, and owner wants %s", key.name, clip(key.has, 64), clip(key.want, 64))
	}
	return "owner does not match"
}
