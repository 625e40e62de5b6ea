package report

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/org/portcheck/check"
)

// EventFormats are the formats of an event that watch prints.
var EventFormats = Table[check.Event]{
	"text": eventText,
	"json": eventJSON,
}

// eventJSON writes an event as one line, as schema/event.schema.json describes it.
func eventJSON(w io.Writer, e check.Event, _ Options) error {
	e.Holders, e.Before = orEmpty(e.Holders), orEmpty(e.Before)
	line, err := InlineJSON(struct {
		Version int    `json:"version"`
		Time    string `json:"time"` // always as long, so that lines can be sorted as text
		check.Event
	}{jsonVersion, e.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00"), e})
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// eventText writes an event as one line.
func eventText(w io.Writer, e check.Event, o Options) error {
	_, err := fmt.Fprintf(w, "%s%s %s%s\n", eventStart(e.Time, e.Target, o), Safe(string(e.Event)), eventSubject(e), eventDetails(e))
	return err
}

// eventDetails returns the end of a line: the verdict on a need, or who has the port and
// who had it before.
func eventDetails(e check.Event) string {
	switch {
	case e.OfNeed():
		return ": " + sentence(e.Message)
	case e.Event == check.Freed:
		return ", was " + holdersText(e.Before)
	case e.Event == check.Changed:
		return " by " + holdersText(e.Holders) + ", was " + holdersText(e.Before)
	}
	return " by " + holdersText(e.Holders)
}

// eventStart returns the start of a line: the time, and the target if there are several.
func eventStart(at time.Time, target string, o Options) string {
	start := eventTime(at) + " "
	if o.Targets {
		start += Safe(target) + " "
	}
	return start
}

func eventTime(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// eventSubject returns the need or the endpoint of an event.
func eventSubject(e check.Event) string {
	if e.OfNeed() {
		return Safe(e.Need)
	}
	return Safe(string(e.Protocol) + " " + net.JoinHostPort(e.Address, strconv.Itoa(int(e.Port))))
}

// holdersText describes the holders of a listener on one line, each process once.
func holdersText(holders []check.Holder) string {
	var names []string
	seen := map[string]bool{}
	for _, h := range holders {
		if name := holderText(h); !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	if more := len(names) - maxHeldBy; more > 0 {
		names = append(names[:maxHeldBy], fmt.Sprintf("%d more", more))
	}
	if len(names) == 0 {
		return "an unknown process"
	}
	return strings.Join(names, ", ")
}
