package cli

import (
	"errors"
	"time"

	"github.com/spf13/pflag"

	"github.com/org/portcheck/port"
)

// setFlag is a list of ranges on the command line.
type setFlag struct{ set port.Set }

func (s *setFlag) String() string { return s.set.String() }
func (s *setFlag) Type() string   { return "ports" }

// Set adds to what earlier flags of the same name gave.
func (s *setFlag) Set(text string) error {
	set, err := port.ParseSet(text)
	s.set = append(s.set, set...)
	return err
}

// waitFlag tells a wait of 0s from none given.
type waitFlag struct {
	time.Duration
	given bool
}

func (w *waitFlag) String() string { return "" }
func (w *waitFlag) Type() string   { return "duration" }

func (w *waitFlag) Set(text string) (err error) {
	w.Duration, err = time.ParseDuration(text)
	if err == nil && w.Duration < 0 {
		err = errors.New("a wait can't be negative")
	}
	w.given = true
	return err
}

func flagNames(cmd interface{ Flags() *pflag.FlagSet }) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}
