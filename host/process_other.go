//go:build !linux

package host

import (
	"context"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// details reads the details of processes, and caches them.
type details struct {
	ctx     context.Context
	command bool
	known   map[int]Holder // PID 0: ended
}

func newDetails(ctx context.Context, command bool) *details {
	return &details{ctx, command, map[int]Holder{}}
}

// of returns the details of a process. ok is false if the process ended, or
// another one got its PID, while they were read.
func (d *details) of(pid int) (h Holder, ok bool) {
	h, known := d.known[pid]
	if !known {
		h = d.read(pid)
		d.known[pid] = h
	}
	return h, h.PID != 0
}

// read leaves unit and container empty, and does not list them as unseen: these
// systems have neither systemd nor containers that share the host's processes.
func (d *details) read(pid int) Holder {
	p, err := process.NewProcessWithContext(d.ctx, int32(pid))
	if err != nil {
		return Holder{}
	}
	h := Holder{PID: pid, UID: -1}
	h.Process, _ = p.NameWithContext(d.ctx) // if it can't be read, neither can the executable
	if h.Executable, err = p.ExeWithContext(d.ctx); err != nil || h.Executable == "" {
		h.Unseen = append(h.Unseen, FactExecutable)
	} else {
		h.File = FileMachine // no user of these systems can give a file another path
	}
	if h.UID, h.User, err = owner(d.ctx, p); err != nil {
		h.Unseen = append(h.Unseen, FactUser)
	}
	started, err := p.CreateTimeWithContext(d.ctx)
	if err == nil && started > 0 {
		h.Started = time.UnixMilli(started).UTC()
	}
	if d.command {
		h.Command, _ = p.CmdlineSliceWithContext(d.ctx)
	}
	again, err := process.NewProcessWithContext(d.ctx, int32(pid))
	if err != nil {
		return Holder{}
	}
	if now, err := again.CreateTimeWithContext(d.ctx); err == nil && now != started {
		return Holder{}
	}
	return h
}

// owner returns the effective user. Windows has no uid.
func owner(ctx context.Context, p *process.Process) (uid int, name string, err error) {
	uids, err := p.UidsWithContext(ctx)
	if err != nil || len(uids) == 0 {
		name, err = p.UsernameWithContext(ctx)
		return -1, name, err
	}
	// gopsutil returns the effective uid alone on macOS, and real, effective
	// and saved uid elsewhere.
	uid = int(uids[min(1, len(uids)-1)])
	name, err = userOf(uid)
	return uid, name, err
}

// fewDescriptors is for Linux, where a search for holders opens many files.
func fewDescriptors() bool { return false }

func prepareSearch() {}
