package report

import (
	"fmt"
	"strings"

	"github.com/org/portcheck/check"
)

// holderName returns the name of a holder's process, raw, empty if unknown.
func holderName(h check.Holder) string {
	if h.Process == "" && h.Executable != "" {
		return check.BaseName(h.Executable)
	}
	return h.Process
}

// userCell returns a user's name or else uid for a column of users, "?" if unknown.
func userCell(name string, uid *int) string {
	_, text, _ := strings.Cut(check.UserText(name, uid), " ")
	return orUnknown(text)
}

// started returns when a holder's process was started, empty if unknown.
func started(h check.Holder) string {
	if h.Started == nil {
		return ""
	}
	at := h.Started.UTC().Format("2006-01-02 15:04:05 UTC")
	if age := ageText(h.Minutes); age != "" {
		at += " (" + age + ")"
	}
	return at
}

// ageText returns a number of minutes in the largest unit: "3 days". It is empty for 0.
func ageText(minutes int32) string {
	for _, unit := range []struct {
		name string
		of   int32
	}{{"day", 24 * 60}, {"hour", 60}, {"minute", 1}} {
		switch n := minutes / unit.of; {
		case n == 1:
			return "1 " + unit.name
		case n > 1:
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return ""
}

// containerName returns a container's name, else its short ID, raw.
func containerName(c check.Container) string {
	if c.Name != "" {
		return c.Name
	}
	return c.ID[:min(len(c.ID), 12)]
}

// holderText describes a holder: "nginx (pid 812, user www-data, nginx.service)".
func holderText(h check.Holder) string {
	name := Safe(holderName(h))
	switch {
	case h.Kernel:
		if device := h.From().Device; device != "" {
			return "the kernel itself (" + Safe(device) + ")"
		}
		return "the kernel itself"
	case name != "":
	case h.PID == 0 && h.Container != nil:
		return "container " + Safe(containerName(*h.Container))
	default:
		name = "unknown process"
	}
	var facts []string
	if h.PID > 0 {
		facts = append(facts, fmt.Sprintf("pid %d", h.PID))
	}
	if user := check.UserText(h.User, h.UID); user != "" {
		facts = append(facts, Safe(user))
	}
	switch {
	case h.Container != nil && h.Container.Service != "":
		facts = append(facts, "this job's service "+Safe(h.Container.Service))
	case h.Container != nil:
		facts = append(facts, "container "+Safe(containerName(*h.Container)))
	case h.Unit != "":
		facts = append(facts, Safe(h.Unit))
	}
	switch job := h.From().Job; {
	case h.Forwarder != nil && h.Forwarder.LeftOver:
		facts = append(facts, "left over")
	case job != nil:
		safe := *job
		safe.Text = Safe(safe.Text)
		facts = append(facts, safe.Describe())
	}
	if h.Stopped {
		facts = append(facts, "stopped")
	}
	if h.Self {
		facts = append(facts, "portcheck itself")
	}
	if len(facts) > 0 {
		name += " (" + strings.Join(facts, ", ") + ")"
	}
	return name
}

// commandText returns a holder's command line.
func commandText(h check.Holder) string { return Safe(strings.Join(h.Command, " ")) }

// onceEach returns holders without those that only hold another address or port than one
// before.
func onceEach(holders []check.Holder) []check.Holder {
	var all []check.Holder
	seen := map[string]bool{}
	for _, h := range holders {
		key := holderText(h) + "\n" + commandText(h)
		if !seen[key] {
			seen[key] = true
			all = append(all, h)
		}
	}
	return all
}

const maxHolders = 10 // named where each has a line

// holderLines describes holders, each once on a line of its own, with the command line
// if the report has it.
func holderLines(holders []check.Holder) []string {
	var lines []string
	all := onceEach(holders)
	for i, h := range all {
		if i == maxHolders {
			lines = append(lines, fmt.Sprintf("%d more", len(all)-i))
			break
		}
		line := holderText(h)
		if len(h.Command) > 0 {
			line += ": " + commandText(h)
		}
		lines = append(lines, line)
	}
	return lines
}
