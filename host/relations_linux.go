package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/kernelfile"
	"github.com/org/portcheck/port"
)

// master returns the process of which a process is a forked copy: both execute the
// same file, and the copy has executed no other one since. It returns 0 if there is
// none. A daemon that has left its parent is in a session of its own, and has another
// parent since, whose stack is at another address. Where the file of
// another user's process may not be read, its name has to do. A parent that /proc hides
// from this user is known by its session alone.
func master(dir string, s stat) (found int, unseen bool) {
	for range 64 {
		if !s.copied || s.parent <= 1 {
			break
		}
		above := "/proc/" + strconv.Itoa(s.parent) + "/"
		parent, err := readStat(above)
		if err != nil && inSession(s.parent, s.session) {
			return s.parent, true
		}
		if err != nil || parent.session != s.session && (s.stack == 0 || parent.stack != s.stack) {
			break
		}
		if _, err := os.Readlink(above + "exe"); !sameFile(above+"exe", dir+"exe") && !(errors.Is(err, fs.ErrPermission) && parent.name == s.name) {
			break
		}
		found, s = s.parent, parent
	}
	return found, false
}

// above is what is known of a process that may start a holder again.
type above struct {
	Condition
	leavesCopies bool
}

// condition returns the condition, or nil if it is the usual one.
func (a above) condition() *Above {
	if a.Condition == (Condition{}) {
		return nil
	}
	return &Above{Condition: a.Condition}
}

// above reads about a process once: it may have a thousand copies. What is not known is
// false.
func (d *details) above(pid int) above {
	a, known := d.seenAbove[pid]
	if known {
		return a
	}
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	if s, err := readStat(dir); err == nil {
		status, _ := kernelfile.Read(dir + "status") // without it nothing is known
		a.Condition = conditionOf(pid, s, status)
		a.leavesCopies = a.MasksTerm || leavesCopies(pid, status)
	}
	d.seenAbove[pid] = a
	return a
}

// leavesCopies reports whether a process of that status ends, by SIGTERM or what it takes
// instead, before it could end its forked copies: it does not handle the signal.
func leavesCopies(pid int, status []byte) bool {
	handled, _, err := onTerm(status)
	return err == nil && !handled && !waitsForSignals(pid)
}

// conditionOf returns the condition of a process of that status. What is not known is false.
// Many processes wait in the kernel for a moment, or are stopped at each call (strace).
func conditionOf(pid int, s stat, status []byte) Condition {
	_, ignored, err := onTerm(status)
	c := Condition{Stopped: s.state == "T", IgnoresTerm: err == nil && ignored && !waitsForSignals(pid), MasksTerm: masksTerm(pid, status)}
	if s.state != "D" && s.state != "t" {
		return c
	}
	if now, err := readStat("/proc/" + strconv.Itoa(pid) + "/"); err == nil && now.state == s.state {
		c.Blocked, c.TraceStopped = s.state == "D", s.state == "t"
	}
	if c.TraceStopped {
		c.Tracer = tracerOf(status)
	}
	return c
}

// tracerOf returns the process that traces the one of that status, 0 if it is not known.
func tracerOf(status []byte) int32 {
	fields, err := statusLine(status, "TracerPid:")
	if err != nil || len(fields) != 1 || string(fields[0]) == "0" {
		return 0
	}
	// It is the thread that traces.
	status, err = kernelfile.Read("/proc/" + string(fields[0]) + "/status")
	if err == nil {
		fields, err = statusLine(status, "Tgid:")
	}
	if err != nil || len(fields) != 1 {
		return 0
	}
	pid, _ := strconv.ParseInt(string(fields[0]), 10, 32) // 0 with an error
	return int32(pid)
}

// waitsForSignals reports whether a thread of a process waits in sigwait(3), or may do so.
// Meanwhile the kernel has the signals that it waits for in none of its masks
// (do_sigtimedwait of kernel/signal.c).
func waitsForSignals(pid int) bool {
	const most = 64
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	threads, err := os.ReadDir(dir)
	if err != nil || len(threads) > most {
		return true
	}
	return slices.ContainsFunc(threads, func(thread os.DirEntry) bool {
		where, err := kernelfile.Read(dir + "/" + thread.Name() + "/wchan")
		return unlessEnded(err, dir+"/"+thread.Name()) != nil || strings.Contains(string(where), "sigtimedwait")
	})
}

// onTerm returns from /proc/PID/status whether a process handles SIGTERM, or blocks it, as
// those do that read it from a signalfd(2), and whether the signal does nothing at all. The
// first process of a PID namespace gets no signal that it does not handle, unless it is
// SIGKILL from outside (pid_namespaces(7)).
func onTerm(status []byte) (handled, ignored bool, err error) {
	in := map[string]bool{}
	for _, mask := range []string{"SigBlk:", "SigIgn:", "SigCgt:"} {
		if in[mask], err = hasTerm(status, mask); err != nil {
			return false, false, err
		}
	}
	handled = in["SigBlk:"] || in["SigCgt:"]
	pids, err := statusLine(status, "NSpid:") // not there without PID namespaces
	first := err == nil && len(pids) > 0 && string(pids[len(pids)-1]) == "1"
	return handled, !handled && (in["SigIgn:"] || first), nil
}

// hasTerm reports whether SIGTERM is in a mask of /proc/PID/status.
func hasTerm(status []byte, mask string) (bool, error) {
	fields, err := statusLine(status, mask)
	if err == nil && len(fields) != 1 {
		err = fmt.Errorf("%d fields behind %s", len(fields), mask)
	}
	if err != nil {
		return false, err
	}
	set, err := strconv.ParseUint(string(fields[0]), 16, 64)
	return set&(1<<(unix.SIGTERM-1)) != 0, err
}

// masksTerm reports whether every thread of a process blocks SIGTERM, and the process has no
// signalfd(2) to read it from. The kernel gives the signal to any thread that does not block
// it, and one that waits in sigwait(3) does not. What is not known is false.
func masksTerm(pid int, status []byte) bool {
	const most = 1024
	if blocked, err := hasTerm(status, "SigBlk:"); err != nil || !blocked {
		return false
	}
	dir := "/proc/" + strconv.Itoa(pid)
	threads, err := os.ReadDir(dir + "/task")
	if err != nil || len(threads) > most {
		return false
	}
	for _, thread := range threads {
		at := dir + "/task/" + thread.Name()
		status, err := kernelfile.Read(at + "/status")
		if unlessEnded(err, at) != nil {
			return false
		}
		if blocked, err := hasTerm(status, "SigBlk:"); len(status) > 0 && (err != nil || !blocked) {
			return false
		}
	}
	descriptors, err := os.ReadDir(dir + "/fd")
	if err != nil || len(descriptors) > descriptorsOfRelatives {
		return false
	}
	return !slices.ContainsFunc(descriptors, func(d os.DirEntry) bool {
		link, err := os.Readlink(dir + "/fd/" + d.Name())
		return err == nil && link == "anon_inode:[signalfd]"
	})
}

// starter returns the parent of a process if both execute the same file by the same
// name, as a cluster of Node.js does, and the process is no forked copy; else 0. It may
// have made a session for the process.
func starter(dir string, s, parent stat) int {
	if s.copied || s.parent <= 1 || parent.session != s.session && !s.leads || parent.name != s.name || !sameFile("/proc/"+strconv.Itoa(s.parent)+"/exe", dir+"exe") {
		return 0
	}
	return s.parent
}

// ofScript reports whether the parent of a process is a shell that runs a script, or a
// subshell of one. A shell that reads commands from a person puts each into a process
// group of its own (job control, POSIX XCU 2.11), and one that runs a script does not. A
// script that runs this program now does not wait for the other one.
func ofScript(s, parent stat) bool {
	return !s.copied && s.parent > 1 && s.group == parent.group && runsShell(s.parent, parent.name) && !slices.Contains(ancestors(os.Getpid()), s.parent)
}

// shells are the names of programs that run shell scripts.
var shells = []string{"ash", "bash", "dash", "fish", "ksh", "ksh93", "mksh", "posh", "sh", "yash", "zsh"}

// runsShell reports whether a process executes a shell. Where its file may not be read,
// its name has to do.
func runsShell(pid int, name string) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	file, err := os.Readlink(dir + "exe")
	if err != nil {
		return errors.Is(err, fs.ErrPermission) && slices.Contains(shells, name)
	}
	if base := filepath.Base(file); base != "busybox" && base != "toybox" {
		return slices.Contains(shells, base)
	}
	applet, err := firstWord(dir)
	return err == nil && slices.Contains(shells, strings.TrimPrefix(applet, "-"))
}

// addServed adds to the holders of a socket what those serve that would start them again
// and don't hold it themselves: to end one of them ends that, too.
func addServed(ctx context.Context, sockets []*Socket) {
	const most = 64 // servers that are masters are few
	served := map[int][]*Socket{}
	var reader descriptorReader
	for _, s := range sockets {
		held := map[int]bool{}
		for _, h := range s.Holders {
			held[h.PID] = true
		}
		for i := range s.Holders {
			h := &s.Holders[i]
			pid := cmp.Or(h.Master, h.Starter)
			if pid <= 1 || h.MasterUnseen || held[pid] {
				continue
			}
			all, known := served[pid]
			if !known && len(served) < most {
				if reader.wanted == nil {
					reader = descriptorReader{ctx: ctx, wanted: listeners(ctx)}
				}
				all = reader.servedBy(pid)
				served[pid] = all
			}
			if len(all) > 0 && !slices.ContainsFunc(all, func(o *Socket) bool { return o.Inode == s.Inode }) {
				above := Above{Serves: &all[0].Endpoint} // the one of h is that of other sockets, too
				if h.Above != nil {
					above.Condition = h.Above.Condition
				}
				h.Above = &above
			}
		}
	}
}

// listeners returns the sockets that serve here, by inode. A UDP socket at an ephemeral
// port is most likely a client.
func listeners(ctx context.Context) map[uint64][]*Socket {
	all := map[uint64][]*Socket{}
	limits, _ := readLimits() // else the defaults
	for _, q := range surveyQueries() {
		sockets, err := readDiag(ctx, q, newDevices())
		if err != nil {
			continue // then it is not known what they serve
		}
		for i, s := range sockets {
			if s.Inode != 0 && s.State == Listen && !(s.Protocol == port.UDP && limits.Ephemeral.Contains(s.Port)) {
				all[s.Inode] = append(all[s.Inode], &sockets[i])
			}
		}
	}
	return all
}

// servedBy returns the sockets at which a process serves, the lowest port first.
func (r *descriptorReader) servedBy(pid int) (all []*Socket) {
	r.left = descriptorsOfRelatives
	found, _ := r.socketsOf(pid) // without a right to read them none
	for _, d := range found {
		all = append(all, r.wanted[d.inode]...)
	}
	slices.SortFunc(all, func(a, b *Socket) int { return a.Compare(b.Endpoint) })
	return all
}

// sameFile reports whether two paths are known to lead to one file.
func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// parentName returns the name of a process, empty if it can't be read.
func parentName(pid int) string {
	s, err := readStat("/proc/" + strconv.Itoa(pid) + "/")
	if err != nil {
		return ""
	}
	return s.name
}
