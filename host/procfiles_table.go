package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/org/portcheck/port"
)

// readTables reads the tables that the queries are about. A table that can't be
// read whole is not used.
func (p *procProbe) readTables(queries []query) {
	p.whole, p.boundHidden = map[port.Protocol]bool{}, true
	var all []Socket
	for _, q := range queries {
		q.every = true // without a bind, any state may matter
		sockets, failed := p.readTable(q)
		if failed != nil {
			p.addGaps([]Gap{{
				What: fmt.Sprintf("the kernel's %s socket table can't be read", q.protocol),
				Op:   failed.op, Errno: errnoOrText(failed.err), Kind: GapSockets,
			}})
			continue
		}
		p.whole[q.protocol] = true
		all = append(all, sockets...)
		if q.protocol == port.TCP {
			p.addGaps([]Gap{{What: "/proc/net does not show tcp sockets that are bound and do not listen, and a listener on [::] is assumed to serve IPv4 as well", Kind: GapSockets}})
		}
	}
	p.table = newTable(all)
}

func (p *procProbe) readTable(q query) ([]Socket, *opError) {
	path := "/proc/net/" + string(q.protocol)
	order, err := byteOrder(p.facts.Machine.Arch)
	if err != nil {
		return nil, &opError{"read " + path, err}
	}
	parse := func(text []byte) ([]Socket, error) { return parseProcNet(bytes.NewReader(text), q, order) }
	all, err := readWhole(p, path, parse)
	if err != nil {
		return nil, &opError{"read " + path, err}
	}
	more, err := readWhole(p, path+"6", parse)
	switch {
	case err == nil:
		p.facts.Machine.IPv6 = true
	case !errors.Is(err, fs.ErrNotExist) || p.facts.Machine.IPv6:
		return nil, &opError{"read " + path + "6", err}
	}
	return append(all, more...), nil
}

// byteOrder returns the byte order of a GOARCH of Linux.
func byteOrder(arch string) (binary.ByteOrder, error) {
	switch arch {
	case "386", "amd64", "arm", "arm64", "loong64", "mipsle", "mips64le", "ppc64le", "riscv64":
		return binary.LittleEndian, nil
	case "mips", "mips64", "ppc64", "s390x":
		return binary.BigEndian, nil
	}
	return nil, fmt.Errorf("the byte order of architecture %.20q is unknown", arch)
}
