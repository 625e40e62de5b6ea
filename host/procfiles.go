package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// ReadFile returns the whole content of a file of another machine. The error
// wraps fs.ErrNotExist if there is no such file.
type ReadFile func(ctx context.Context, path string) ([]byte, error)

// FromFiles returns a Linux machine of which only files can be read, because no
// program of ours can run there, for this reason. Nothing is bound: the outcome
// of an Attempt is NotTried, unless the files show that the bind can't work. No
// holder is known. It uses two fields of machine: Arch, a GOARCH, which decides
// about the byte order of addresses, and UID, which is -1 if it is unknown.
//
// Probe returns an error if no file of the machine can be read.
func FromFiles(read ReadFile, machine Machine, reason string) Host {
	return procFiles{read, Machine{
		OS: "linux", Arch: machine.Arch, UID: machine.UID, Elevated: machine.UID == 0,
		Namespace: Namespace{Kind: NamespaceUnknown, Reason: "the files of a machine do not show it"},
	}, shorten(reason)}
}

type procFiles struct {
	read    ReadFile
	machine Machine
	reason  string
}

// Close does nothing, because procFiles keeps nothing open.
func (procFiles) Close() error { return nil }

// Hold implements Leaser. Ports are held by a process.
func (f procFiles) Hold(context.Context, LeaseRequest) (LeaseReply, error) {
	return LeaseReply{}, fmt.Errorf("no port can be held on this host, since portcheck can't run there: %s", f.reason)
}

// Probe implements Host.
func (f procFiles) Probe(ctx context.Context, req Request) (Facts, error) {
	p := &procProbe{probe: newProbe(ctx, req), files: f}
	p.localIPv4 = sync.OnceValues(func() ([]netip.Prefix, error) { return readWhole(p, fibTriePath, parseLocalIPv4) })
	p.facts.Machine = f.machine
	if req.Survey != nil {
		if facts := p.survey(*req.Survey); p.answered && ctx.Err() == nil {
			return facts, nil
		}
	}
	p.addGaps([]Gap{
		{What: "portcheck can't run on this host, so the results come from /proc/net alone: " + f.reason},
		{What: "the processes of this host can't be examined", Kind: GapHolders},
	})
	p.readIdentity()
	var gaps []Gap
	p.facts.Limits, gaps = limitsFrom(p.sysctl)
	p.addGaps(gaps)
	p.ipv6, p.ipv6Err = readWhole(p, ifInet6Path, parseIPv6Addresses)
	p.facts.Machine.IPv6 = !errors.Is(p.ipv6Err, fs.ErrNotExist)
	if req.needsTable() {
		p.nameZones()
		p.readTables(p.queries())
		p.answerTries()
		p.noteRules()
		p.answerScans()
		p.collectSockets()
		p.facts.Sockets = merge(p.facts.Sockets)
	}
	for _, d := range req.Dials {
		p.facts.Dialed = append(p.facts.Dialed, p.notDialed(d))
	}
	if ctx.Err() != nil {
		return Facts{}, ctx.Err()
	}
	if !p.answered {
		return Facts{}, fmt.Errorf("no file of /proc can be read: %s", errnoOrText(p.refusal))
	}
	return p.facts, nil
}

// procProbe is the state of one Probe.
type procProbe struct {
	*probe
	files     procFiles
	answered  bool  // a file could be read
	refusal   error // of the first file that could not be read
	ipv6      []ipv6Address
	ipv6Err   error
	localIPv4 func() ([]netip.Prefix, error) // called only for literal addresses
}

const (
	bootIDPath  = "/proc/sys/kernel/random/boot_id"
	fibTriePath = "/proc/net/fib_trie"
	ifInet6Path = "/proc/net/if_inet6"
	// conntrackPath exists where the kernel can track connections.
	conntrackPath = "/proc/sys/net/netfilter/nf_conntrack_count"
	// statusPath describes the process that reads it, which has the rights of
	// the login that other programs have as well.
	statusPath = "/proc/self/status"
)

// readFile reads a file, and records whether any could be read.
func (p *procProbe) readFile(path string) ([]byte, error) {
	text, err := p.files.read(p.ctx, path)
	if err == nil {
		p.answered = true
	} else if p.refusal == nil {
		p.refusal = err
	}
	return text, err
}

var errCutShort = errors.New("the file ends in the middle of a line")

// readWhole reads and parses a file of lines.
func readWhole[T any](p *procProbe, path string, parse func([]byte) (T, error)) (T, error) {
	text, err := p.readFile(path)
	if err == nil && len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		err = errCutShort
	}
	if err != nil {
		var none T
		return none, err
	}
	return parse(text)
}

// sysctl reads a sysctl. It returns an error for a list of ports that is cut off:
// if it is read in pieces, the kernel returns only the first one.
func (p *procProbe) sysctl(path string) (string, error) {
	return readWhole(p, path, func(text []byte) (string, error) { return string(text), nil })
}

// noteRules adds a gap if there may be NAT rules, which no file shows. They need
// connection tracking.
func (p *procProbe) noteRules() {
	if !slices.ContainsFunc(p.req.Tries, func(t Try) bool { return t.Callers }) {
		return
	}
	if _, err := p.sysctl(conntrackPath); !errors.Is(err, fs.ErrNotExist) {
		p.addGaps([]Gap{{Kind: GapRules, What: RulesUnread + ": no file of /proc shows them"}})
	}
}

// readIdentity reads the boot ID of the machine, and the user and the rights that
// programs have there.
func (p *procProbe) readIdentity() {
	m := &p.facts.Machine
	if id, err := p.sysctl(bootIDPath); err == nil && len(id) < 64 {
		m.BootID = strings.TrimSpace(id)
	}
	status, err := p.readFile(statusPath)
	if err != nil {
		return
	}
	if uid, err := parseEffectiveUID(status); err == nil && m.UID < 0 {
		m.UID = uid
	}
	if may, err := parseMayBindLow(status); err == nil {
		m.Elevated = may
	}
}

// errnoOrText returns the symbolic errno of an error, or its text, shortened.
func errnoOrText(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "ENOENT"
	}
	return shorten(cmp.Or(ErrnoName(err), "no reason given"))
}

// shorten returns at most 200 bytes of a text, and an ellipsis if there is more.
func shorten(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
