package report

import (
	"bytes"
	"io"
	"net"
	"strconv"

	"github.com/org/portcheck/check"
)

// List writes l in the named format. The text has no notices of targets: see
// TargetNotices.
func List(w io.Writer, l check.Listing, format string, o Options) error {
	f, err := ListFormats.Lookup(format)
	if err != nil {
		return err
	}
	return f(w, l, o)
}

// listJSON writes a listing as JSON.
func listJSON(w io.Writer, l check.Listing, _ Options) error {
	l.Version = jsonVersion
	l.Targets = targetsJSON(l.Targets)
	l.Sockets = orEmpty(l.Sockets)
	return writeJSON(w, l)
}

// listText writes a listing as a table.
func listText(w io.Writer, l check.Listing, o Options) error {
	all := []column{
		{title: "PROTOCOL", least: 8},
		{title: "ENDPOINT", least: 14},
		{title: "STATE", least: 6},
		{title: "PROCESS", least: 8},
		{title: "PID", least: 5},
		{title: "USER", least: 6},
		{title: "UNIT OR CONTAINER", least: 10},
		{title: "COMMAND", least: 10},
	}
	g := grid{all: all, dropped: []int{2, 6, 5}}
	for _, h := range l.Sockets {
		name := holderName(h)
		if h.Kernel {
			name = "(kernel)"
		}
		if h.Stopped {
			name = orUnknown(name) + " (stopped)"
		}
		command := ""
		if len(h.Command) > 0 {
			command = commandText(h)
		}
		g.cells = append(g.cells, []string{
			Safe(string(h.Protocol)), Safe(net.JoinHostPort(h.Place(), strconv.Itoa(int(h.Port)))), Safe(h.State),
			orUnknown(name), orUnknown(pidText(h)), userCell(h.User, h.UID), unitOrContainer(h), command,
		})
	}
	var text []byte
	if len(g.cells) > 0 {
		text = g.fitting(o)
	}
	_, err := w.Write(text)
	return err
}

// fitting returns the grid in lines that fit a terminal, if there is one.
func (g grid) fitting(o Options) []byte {
	if o.Width == 0 {
		return g.Safe()
	}
	var b bytes.Buffer
	g.write(&b, max(o.Width, minTableWidth))
	return b.Bytes()
}

// unitOrContainer returns the name of the holder's unit or container, "-" for a
// known process that is in neither.
func unitOrContainer(h check.Holder) string {
	switch {
	case h.Container != nil:
		return Safe(containerName(*h.Container))
	case h.Unit == "" && h.PID > 0:
		return "-"
	default:
		return orUnknown(h.Unit)
	}
}

func pidText(h check.Holder) string {
	if h.PID == 0 {
		return ""
	}
	return strconv.Itoa(h.PID)
}

func orUnknown(s string) string {
	if s == "" {
		return "?"
	}
	return Safe(s)
}
