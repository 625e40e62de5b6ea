package host

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/kernelfile"
)

// details reads the details of processes.
type details struct {
	command   bool
	boot      time.Time // zero if unknown
	users     map[int]string
	mounts    func() []mount  // of the machine
	links     map[string]link // the results of leadsTo, by name and path
	seenAbove map[int]above   // the results of above
	cgroups   cgroupRoot
	jobs      int // bytes of environments that may still be read for the jobs in them
	conmons   *conmons
}

func newDetails(ctx context.Context, command bool) *details {
	d := &details{command: command, conmons: newConmons(ctx), users: map[int]string{}, links: map[string]link{}, seenAbove: map[int]above{}, mounts: sync.OnceValue(machineMounts), cgroups: ownCgroupRoot()}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err == nil {
		d.boot = time.Now().Add(-time.Duration(up.Nano())).Truncate(time.Second) // btime of /proc/stat, without its other lines
	}
	return d
}

// of returns the details of a process. ok is false if the process ended, or
// another one got its PID, while they were read.
func (d *details) of(pid int) (h Holder, ok bool) {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	before, err := readStat(dir)
	if err != nil {
		return h, false
	}
	h = Holder{PID: pid, Process: before.name, UID: -1}
	unseen := func(what string, err error) {
		if err != nil {
			h.Unseen = append(h.Unseen, what)
		}
	}
	h.Executable, h.File, err = d.executable(dir)
	unseen(FactExecutable, err)
	h.Names, err = d.otherNames(dir, before.name, h)
	unseen(NamesUnseen, err)
	h.Master, h.MasterUnseen = master(dir, before)
	h.Parent = before.parent
	if parent, err := readStat("/proc/" + strconv.Itoa(before.parent) + "/"); err == nil {
		h.ParentName = parent.name
		h.Starter = starter(dir, before, parent)
		h.OfScript = ofScript(before, parent)
	}
	switch {
	case h.MasterUnseen:
	case h.Master > 0:
		a := d.above(h.Master)
		h.Above, h.LeavesCopies = a.condition(), a.leavesCopies
	case h.Starter > 0 || h.OfScript:
		h.Above = d.above(h.Parent).condition()
	}

	status, err := kernelfile.Read(dir + "status")
	h.Condition = conditionOf(pid, before, status)
	if err == nil {
		h.UID, err = parseEffectiveUID(status)
	}
	if err == nil {
		h.User, err = d.user(h.UID)
	}
	unseen(FactUser, err)

	cgroup, err := kernelfile.Read(dir + "cgroup")
	if err == nil {
		names := parseCgroup(string(cgroup), d.cgroups)
		h.Unit, h.Container, h.Engine = names.unit, names.container, names.engine
		if names.unitUnknown {
			h.Unseen = append(h.Unseen, FactUnit)
		} else {
			h.Vouched = append(h.Vouched, FactUnit)
		}
		switch {
		case names.containerUnknown:
			h.Unseen = append(h.Unseen, FactContainer)
		case names.enginesOwn:
			h.Vouched = append(h.Vouched, FactContainer)
		case h.Container != "":
			h.Parents = ancestors(before.parent)
		}
		if h.Container != "" && h.Engine == "podman" {
			h.MonitorUnit = d.monitorUnit(before.parent)
		}
	}
	unseen(FactUnit, err)
	unseen(FactContainer, err)

	h.Started = d.started(before)
	if d.command {
		h.Command = readCommand(dir)
	}
	if f, proven := ForwarderOf(h); proven {
		h.LeftOver = f.lostParent(h)
		d.nameMonitored(&h, f, dir, string(cgroup))
	} else if d.jobs > 0 {
		h.Job = d.job(dir)
	}
	after, err := readStat(dir)
	return h, err == nil && after.start == before.start
}

// started returns when a process was started, zero if that is unknown.
func (d *details) started(s stat) time.Time {
	if d.boot.IsZero() {
		return time.Time{}
	}
	return d.boot.Add(time.Duration(s.start) * (time.Second / ticksPerSecond)).UTC()
}

// Limits on command lines. One may have megabytes, which a process shares with its
// children, but not the answers about them.
const (
	commandLimit  = 4096 // bytes that are read of one
	argumentsMax  = 256  // of one
	commandsShare = 256  // bytes of all together, for each holder that may be found
)

// readCommand returns the command line of a process, with an ellipsis at the end if
// it is cut.
func readCommand(dir string) []string {
	line, cut, err := readCmdline(dir, commandLimit)
	if err != nil || len(line) == 0 {
		return nil
	}
	end := ""
	if cut {
		end = "…"
	}
	words := strings.Split(strings.TrimSuffix(string(line), "\x00")+end, "\x00")
	if len(words) > argumentsMax {
		words = append(words[:argumentsMax:argumentsMax], "…")
	}
	return words
}

// readCmdline returns the first bytes of a process's command line, at most limit, and
// whether there are more.
func readCmdline(dir string, limit int) (line []byte, cut bool, err error) {
	f, err := os.Open(dir + "cmdline")
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	line, err = io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if len(line) > limit {
		return line[:limit], true, err
	}
	return line, false, err
}

// sizeOfCommand returns about how many bytes a command line takes in memory.
func sizeOfCommand(words []string) int {
	size := 0
	for _, w := range words {
		size += len(w) + 16
	}
	return size
}

// user returns the name of a uid, which it looks up once.
func (d *details) user(uid int) (string, error) {
	if name, known := d.users[uid]; known {
		return name, nil
	}
	name, err := userOf(uid)
	if err == nil {
		d.users[uid] = name
	}
	return name, err
}

// ancestors returns a process and its ancestors, at most 64 of them.
func ancestors(pid int) (all []int) {
	for pid > 0 && len(all) < 64 {
		all = append(all, pid)
		parent, err := readStat("/proc/" + strconv.Itoa(pid) + "/")
		if err != nil {
			break // it has ended
		}
		pid = parent.parent
	}
	return all
}

// monitorUnit returns the unit of the nearest conmon among a process and its ancestors.
// Podman gives conmon a scope or leaves it in the unit that starts the container, and
// may put the container elsewhere (podman-run(1), --cgroups).
func (d *details) monitorUnit(pid int) string {
	for _, p := range ancestors(pid) {
		if parentName(p) != "conmon" {
			continue
		}
		return d.unitOf(p)
	}
	return ""
}

// unitOf returns the unit of a process, empty if it is not known.
func (d *details) unitOf(pid int) string {
	text, err := kernelfile.Read("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	return parseCgroup(string(text), d.cgroups).unit
}

// ticksPerSecond is USER_HZ, 100 on every architecture that Go runs on.
const ticksPerSecond = 100

type stat struct {
	name                   string
	state                  string // a letter, as in ps(1)
	parent, group, session int
	copied                 bool   // it was forked and has executed no file since
	start                  uint64 // ticks since boot
	stack                  uint64 // where its stack starts; 0 if that may not be read
	leads                  bool   // its session is its own
}

func readStat(dir string) (stat, error) {
	text, err := kernelfile.Read(dir + "stat")
	if err != nil {
		return stat{}, err
	}
	return parseStat(text)
}

// parseStat parses /proc/PID/stat. The name, in parentheses, may hold any
// characters, even ") S 1 (", so the last parenthesis ends it.
func parseStat(text []byte) (stat, error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("no process name in %.100q", text)
	}
	fields := bytes.Fields(text[end+1:])
	const startTime = 22 - 3 // counted from 1 in proc(5), here from field 3
	if len(fields) <= startTime {
		return stat{}, fmt.Errorf("%d fields behind the process name", len(fields))
	}
	start, err := strconv.ParseUint(string(fields[startTime]), 10, 64)
	if err != nil {
		return stat{}, err
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return stat{}, err
	}
	group, err := strconv.Atoi(string(fields[2]))
	if err != nil {
		return stat{}, err
	}
	session, err := strconv.Atoi(string(fields[3]))
	if err != nil {
		return stat{}, err
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
	if err != nil {
		return stat{}, err
	}
	const forkedNoExec = 0x40 // PF_FORKNOEXEC of include/linux/sched.h
	s := stat{name: string(text[open+1 : end]), state: string(fields[0]), parent: parent, group: group, session: session, copied: flags&forkedNoExec != 0, start: start}
	const startStack = 28 - 3
	if len(fields) > startStack {
		s.stack, _ = strconv.ParseUint(string(fields[startStack]), 10, 64) // not a number: as if it may not be read
	}
	s.leads = session > 0 && strings.TrimSpace(string(text[:open])) == strconv.Itoa(session)
	return s, nil
}
