package cli

import (
	"errors"
	"slices"

	"github.com/spf13/pflag"

	"github.com/org/portcheck/config"
)

// undeclaredOptions are the flags about listeners that no need declares.
type undeclaredOptions struct {
	undeclared         string // a severity, or ""
	undeclaredLoopback bool
}

func (o *undeclaredOptions) undeclaredFlags(f *pflag.FlagSet) {
	f.StringVar(&o.undeclared, "undeclared", "", "also report what listens on the targets and no need declares, with this `SEVERITY`: error or warning")
	f.Lookup("undeclared").NoOptDefVal = string(config.SeverityError)
	f.BoolVar(&o.undeclaredLoopback, "undeclared-loopback", false, "with --undeclared: report what listens on loopback addresses alone, too")
}

func (o *undeclaredOptions) validate() error {
	severities := wordsOf(config.Severities)
	switch {
	case o.undeclared != "" && !slices.Contains(severities, o.undeclared):
		return notOneOf("--undeclared", o.undeclared, severities)
	case o.undeclaredLoopback && o.undeclared == "":
		return usageError(errors.New("--undeclared-loopback has no effect without --undeclared"), "")
	}
	return nil
}
