package cli

import (
	"os/user"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host/lease"
	"github.com/org/portcheck/report"
)

// answerTime limits how long the keepers of a machine may take to answer.
const answerTime = time.Second

func (a *app) leases() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "leases [-f FORMAT]",
		Short: "List the ports that jobs hold on this machine",
		Long: `Lists the leases of this network namespace, those of all users; on systems other
than Linux, those of this user. What a keeper does not say within a second is left out.`,
		Example: `  portcheck leases
  portcheck leases -f json`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.StringVarP(&format, "format", "f", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		write, err := report.LeasesFormats.Lookup(format)
		if err != nil {
			return usageError(err, config.DidYouMean(format, report.LeasesFormats.Names()))
		}
		held, err := lease.List(time.Now().Add(answerTime))
		if err != nil {
			return unknownError(err)
		}
		text, err := render(cmd.Context(), write, check.LeasesOf(held, userName), report.Options{})
		if err == nil {
			_, err = a.stdout.Write(text)
		}
		return writeFailure("the leases", err)
	}
	return cmd
}

// userName returns the name of a user, or "" for a uid that has none.
func userName(uid int) string {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return ""
	}
	return u.Username
}
