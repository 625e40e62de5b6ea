package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// ExitMeaning is what exit codes of a command mean.
type ExitMeaning struct{ Codes, Meaning string }

// meanings are what the codes 0 to 3 of a command mean. Without a text a command never
// ends with the code.
type meanings struct{ ok, unmet, usage, unknown string }

const (
	wrongLine   = "the command line is wrong"
	wrongNeeds  = "a manifest or the command line is wrong: nothing was checked"
	notReported = "something could not be determined, or the report not be written"
)

var (
	ofReports = meanings{"every need is met", "a need is not met", wrongNeeds, notReported}
	ofText    = meanings{"the text is printed", "", wrongLine, "the text could not be written"}
)

// exitsOf are the commands of which the codes mean something of their own.
var exitsOf = map[string]meanings{
	"portcheck check": ofReports,
	"portcheck verify": {
		"the app listens on each of its ports, and every other need is met", "a need is not met, or has no port of this job", wrongNeeds, notReported,
	},
	"portcheck lint": {
		"the manifests contradict neither themselves nor each other", "needs exclude each other", "a manifest or the command line is wrong", "the report could not be written",
	},
	"portcheck merge": {
		"every need is met on every host", "a need is not met", "a report or the command line is wrong: nothing was merged", notReported,
	},
	"portcheck list": {
		"the sockets are printed, even if there are none", "", wrongLine, "the sockets could not be read, or the list not be written",
	},
	"portcheck free": {
		"as many ports as asked for are printed", "there are fewer", wrongLine, "something could not be determined, or the ports not be written",
	},
	"portcheck assign": {
		"every need has a port, which is held", "a need can't have one: none is held", "a manifest or the command line is wrong: nothing was chosen", "something could not be determined, or the ports not be written",
	},
	"portcheck exec": {
		"that of COMMAND, as any other code once it runs", "a need can't have a port: COMMAND was not run", "a manifest or the command line is wrong, or COMMAND is not there: it was not run", "something could not be determined: COMMAND was not run",
	},
	"portcheck leases": {
		"the leases are printed, even if there are none", "", wrongLine, "a target did not answer, or the list could not be written",
	},
	"portcheck release": {
		"the leases are ended, or there were none", "", wrongLine, "a lease could not be ended, or a target did not answer",
	},
	"portcheck diff": {
		"nothing differs that is not explained", "an anomaly", "a file or the command line is wrong: nothing was compared", "something could not be compared, or the comparison not be written",
	},
	"portcheck watch": {
		"--until came true, or SIGINT, SIGQUIT, SIGTERM or SIGHUP ended a watch without --until met or unmet", "a need was unmet at the end of the duration of --until", "a manifest or the command line is wrong: nothing was watched", "a need was unknown at the end of that duration, or the events could not be written, or the metrics not be served",
	},
	"portcheck init": {
		"portcheck.yml is written", "", "a manifest is here already, the file of --from or the command line is wrong, or there is no port to write", "the machine could not be read, or the file not be written",
	},
	"portcheck action": {
		"that of the command of the input command", "a need is not met", "a manifest or an input is wrong", notReported,
	},
	"portcheck probe": {
		"stdin has ended", "", wrongLine, "the lifetime is over, or an answer could not be written",
	},
	"portcheck keep": {
		"the lease is held by another process, or has ended", "", wrongLine, "the lease could not be held",
	},
}

// ExitMeanings returns what the exit codes of a command mean, for its help and its
// manual.
func ExitMeanings(cmd *cobra.Command) []ExitMeaning {
	m, own := exitsOf[cmd.CommandPath()]
	switch {
	case own:
	case cmd.HasParent():
		m = ofText
	default:
		m = ofReports
	}
	var all []ExitMeaning
	for _, c := range []struct {
		code    int
		meaning string
	}{{exitOK, m.ok}, {exitUnmet, m.unmet}, {exitUsage, m.usage}, {exitUnknown, m.unknown}, {exitBug, "a bug in portcheck"}} {
		if c.meaning != "" {
			all = append(all, ExitMeaning{fmt.Sprint(c.code), c.meaning})
		}
	}
	cancelled := "cancelled by SIGINT, SIGQUIT, SIGTERM (or SIGHUP)"
	if cmd.Name() == "watch" {
		cancelled = "SIGINT, SIGQUIT, SIGTERM (or SIGHUP) came before --until met or unmet had come true, or while nobody read the events"
	}
	return append(all, ExitMeaning{fmt.Sprintf("%d, %d, %d", exitInterrupt, exitQuit, exitTerminated), cancelled})
}
