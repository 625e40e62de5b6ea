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
	w.given = true
	w.Duration, err = time.ParseDuration(text)
	switch {
	case err != nil:
		return errBadDuration
	case w.Duration < 0:
		return errors.New("want 0s or more")
	}
	return nil
}

var errBadDuration = errors.New("want a number and a unit, such as 500ms, 30s or 1m30s")

func flagNames(cmd interface{ Flags() *pflag.FlagSet }) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return names
}
