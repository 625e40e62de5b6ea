package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"sync"
)

// ReadFile returns what a file of another machine holds, whole. The error wraps
// fs.ErrNotExist if there is no such file.
type ReadFile func(ctx context.Context, path string) ([]byte, error)

// FromFiles is a Linux machine on which no program of ours can run, for a reason
// that is told, and of which files can be read. Nothing is bound there, so that
// every Attempt is not-tried but where the files tell that it can't work, and no
// holder is known. Of machine it takes Arch (GOARCH, which decides in what order
// addresses are printed) and UID (-1 if it is not known).
//
// A machine of which no file can be read is an error of Probe.
func FromFiles(read ReadFile, machine Machine, reason string) Host {
	return files{read, Machine{
		OS: "linux", Arch: machine.Arch, UID: machine.UID, Elevated: machine.UID == 0,
		Namespace: Namespace{Kind: NamespaceUnknown, Reason: "it is known from its files alone"},
	}, brief(reason)}
}

type files struct {
	read    ReadFile
	machine Machine
	reason  string
}

// Close does nothing: files keeps nothing open.
func (files) Close() error { return nil }

// Probe implements Host.
func (f files) Probe(ctx context.Context, req Request) (Facts, error) {
	p := &filesProbe{probe: newProbe(ctx, req), files: f}
	p.localIPv4 = sync.OnceValues(func() ([]netip.Prefix, error) { return readWhole(p, fibTriePath, parseLocalIPv4) })
	p.facts.Machine = f.machine
	p.addGaps([]Gap{
		{What: "no program of ours runs on this host, so its ports are judged by /proc/net alone: " + f.reason},
		{What: "its processes can't be looked into", Kind: GapHolders},
	})
	p.identify()
	var gaps []Gap
	p.facts.Limits, gaps = limitsFrom(p.sysctl)
	p.addGaps(gaps)
	p.ipv6, p.ipv6Err = readWhole(p, ifInet6Path, parseIPv6Addresses)
	p.facts.Machine.IPv6 = !errors.Is(p.ipv6Err, fs.ErrNotExist)
	if req.needsTable() {
		p.nameZones()
		p.readTables()
		p.judgeAddresses()
		p.scan()
		p.gather()
		p.facts.Sockets = merge(p.facts.Sockets)
	}
	for _, d := range req.Dials {
		p.facts.Dialed = append(p.facts.Dialed, p.undialed(d))
	}
	if ctx.Err() != nil {
		return Facts{}, ctx.Err()
	}
	if !p.answered {
		return Facts{}, fmt.Errorf("no file of /proc can be read there: %s", why(p.refusal))
	}
	return p.facts, nil
}

// filesProbe is one Probe.
type filesProbe struct {
	*probe
	files     files
	answered  bool  // a file could be read
	refusal   error // why the first that could not be read was not
	ipv6      []ipv6Address
	ipv6Err   error
	localIPv4 func() ([]netip.Prefix, error) // read only if a literal address asks for it
}

const (
	bootIDPath  = "/proc/sys/kernel/random/boot_id"
	fibTriePath = "/proc/net/fib_trie"
	ifInet6Path = "/proc/net/if_inet6"
	// statusPath is about the process that reads it: it has the rights that
	// other programs of the same login have.
	statusPath = "/proc/self/status"
)

func (p *filesProbe) get(path string) ([]byte, error) {
	text, err := p.files.read(p.ctx, path)
	if err == nil {
		p.answered = true
	} else if p.refusal == nil {
		p.refusal = err
	}
	return text, err
}

var errCutShort = errors.New("its text ends in the middle of a line")

// readWhole reads and parses a file of lines.
func readWhole[T any](p *filesProbe, path string, parse func([]byte) (T, error)) (T, error) {
	text, err := p.get(path)
	if err == nil && len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		err = errCutShort
	}
	if err != nil {
		var none T
		return none, err
	}
	return parse(text)
}

// sysctl refuses a list of ports that was cut: to who reads it in pieces, the
// kernel gives the first piece alone.
func (p *filesProbe) sysctl(path string) (string, error) {
	return readWhole(p, path, func(text []byte) (string, error) { return string(text), nil })
}

// identify reads which machine it is, and which rights a program has there.
func (p *filesProbe) identify() {
	m := &p.facts.Machine
	if id, err := p.sysctl(bootIDPath); err == nil && len(id) < 64 {
		m.BootID = strings.TrimSpace(id)
	}
	status, err := p.get(statusPath)
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

// why is an error in a few words: its errno, or what it says itself.
func why(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "ENOENT"
	}
	return brief(cmp.Or(ErrnoName(err), "no reason given"))
}

// brief bounds text from outside.
func brief(s string) string {
	const most = 200 // bytes
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
