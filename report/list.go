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

// ListFormats are the ways to tell who listens, by name.
var ListFormats = map[string]func(io.Writer, check.Listing, Options) error{
	"text": listText,
	"json": listJSON,
}

// List writes l in the named format. The text has no word on what could not
// be seen: see TargetNotices.
func List(w io.Writer, l check.Listing, format string, o Options) error {
	f, err := lookup(ListFormats, format)
	if err != nil {
		return err
	}
	return f(w, l, o)
}

func listJSON(w io.Writer, l check.Listing, _ Options) error {
	l.Version = jsonVersion
	l.Targets = targetsJSON(l.Targets)
	l.Sockets = listOf(l.Sockets)
	return writeJSON(w, l)
}

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
		row([]string{
			Safe(string(h.Protocol)), Safe(net.JoinHostPort(h.Address, strconv.Itoa(int(h.Port)))), Safe(h.State),
			known(holderName(h)), known(pidText(h)), known(holderUser(h)), home(h),
		}, known(commandText(h)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// home is the unit or container in which a holder lives; "-" for a known
// process that is in neither.
func home(h check.Holder) string {
	switch {
	case h.Container != nil:
		return Safe(containerName(*h.Container))
	case h.Unit == "" && h.PID > 0:
		return "-"
	default:
		return known(h.Unit)
	}
}

func pidText(h check.Holder) string {
	if h.PID == 0 {
		return ""
	}
	return strconv.Itoa(h.PID)
}

func known(s string) string {
	if s == "" {
		return "?"
	}
	return Safe(s)
}
