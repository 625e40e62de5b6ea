package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

// LeasesFormats are the formats of what leases prints.
var LeasesFormats = Table[check.Leases]{
	"text": leasesText,
	"json": leasesJSON,
}

// leasesJSON writes leases as schema/leases.schema.json describes them.
func leasesJSON(w io.Writer, l check.Leases, _ Options) error {
	l.Version = jsonVersion
	l.Leases = listOf(l.Leases)
	for i := range l.Leases {
		x := &l.Leases[i]
		x.Since, x.Expires = x.Since.UTC().Truncate(time.Second), x.Expires.UTC().Truncate(time.Second)
	}
	return writeJSON(w, l)
}

// leasesText writes leases as a table, with their targets if there are several.
func leasesText(w io.Writer, l check.Leases, o Options) error {
	g := grid{all: []column{
		{title: "ID", least: 12},
		{title: "JOB", least: 10},
		{title: "APP", least: 6},
		{title: "KEEPER", least: 6},
		{title: "USER", least: 6},
		{title: "UNTIL", least: 20},
		{title: "PORTS", least: 14},
	}, dropped: []int{3, 2, 4, 5, 1}}
	several := slices.ContainsFunc(l.Leases, func(x check.ListedLease) bool { return x.Target != l.Leases[0].Target })
	if several {
		g.all = slices.Insert(g.all, 0, column{title: "TARGET", least: 10})
		g.dropped = []int{4, 3, 5, 6, 2}
	}
	for _, x := range l.Leases {
		pid := ""
		if x.PID > 0 {
			pid = strconv.Itoa(x.PID)
		}
		row := []string{orUnknown(x.ID), leaseWord(x.Job), leaseWord(x.App), orUnknown(pid), userCell(x.User, x.UID), until(x.Lease), leasedPorts(x.Ports)}
		if several {
			row = slices.Insert(row, 0, orUnknown(x.Target))
		}
		g.cells = append(g.cells, row)
	}
	_, err := w.Write(g.fitting(o))
	return err
}

// leaseWord returns a text that a keeper has said, "?" for none.
func leaseWord(text string) string {
	if text == "" {
		return orUnknown(text)
	}
	return orUnknown(check.LeaseWord(text))
}

// until returns when a lease ends.
func until(l check.Lease) string {
	if l.UntilExit > 0 {
		return fmt.Sprintf("%s or the end of process %d", timeText(l.Expires), l.UntilExit)
	}
	return timeText(l.Expires)
}

// leasedPorts lists ports as "web 8042/tcp, dns 53/udp". Of many it lists the first.
func leasedPorts(ports []check.LeasedPort) string {
	const most = 8
	var parts []string
	for len(ports) > 0 && len(parts) < most {
		first, n := ports[0], 1
		for n < len(ports) && ports[n].Name == first.Name && ports[n].Protocol == first.Protocol && int(ports[n].Port) == int(first.Port)+n {
			n++
		}
		r := port.Range{First: first.Port, Last: ports[n-1].Port}
		text := fmt.Sprintf("%s/%s", r, Safe(string(first.Protocol)))
		if first.Name != "" {
			text = Safe(check.LeaseWord(first.Name)) + " " + text
		}
		parts = append(parts, text)
		ports = ports[n:]
	}
	if len(ports) > 0 {
		parts = append(parts, fmt.Sprintf("%d more", len(ports)))
	}
	return strings.Join(parts, ", ")
}
