package report

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

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
	l.Sockets = listOf(l.Sockets)
	return writeJSON(w, l)
}

// listText writes a listing as a table.
func listText(w io.Writer, l check.Listing, _ Options) error {
	withCommand := slices.ContainsFunc(l.Sockets, func(h check.Holder) bool { return len(h.Command) > 0 })
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(cells []string, command string) {
		if withCommand {
			cells = append(cells, command)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	row([]string{"PROTOCOL", "ENDPOINT", "STATE", "PROCESS", "PID", "USER", "UNIT OR CONTAINER"}, "COMMAND")
	for _, h := range l.Sockets {
		name := holderName(h)
		if h.Kernel {
			name = "(kernel)"
		}
		row([]string{
			Safe(string(h.Protocol)), Safe(net.JoinHostPort(h.Address, strconv.Itoa(int(h.Port)))), Safe(h.State),
			orUnknown(name), orUnknown(pidText(h)), orUnknown(holderUser(h)), unitOrContainer(h),
		}, orUnknown(commandText(h)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
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
