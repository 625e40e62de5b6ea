package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
	"github.com/org/portcheck/report"
)

// portsFlag is a repeatable flag of port ranges.
type portsFlag struct{ set port.Set }

func (f *portsFlag) String() string { return f.set.String() }
func (f *portsFlag) Type() string   { return "ports" }

// Set adds the ranges of text to those of earlier flags.
func (f *portsFlag) Set(text string) error {
	set, err := port.ParseSet(text)
	f.set = append(f.set, set...)
	return err
}

// listFlag is a repeatable flag of texts. That of pflag writes CSV as soon as it is made.
type listFlag struct {
	all   *[]string
	given bool // otherwise all is the default
}

// addList adds a listFlag. What all has is the default.
func addList(f *pflag.FlagSet, all *[]string, name, shorthand, usage string) {
	f.VarP(&listFlag{all: all}, name, shorthand, usage)
}

func (l *listFlag) Type() string { return "stringArray" }

func (l *listFlag) String() string {
	if len(*l.all) == 0 {
		return ""
	}
	return "[" + strings.Join(*l.all, ",") + "]"
}

func (l *listFlag) Set(text string) error {
	if !l.given {
		*l.all, l.given = nil, true
	}
	return l.Append(text)
}

// Append implements pflag.SliceValue.
func (l *listFlag) Append(text string) error {
	*l.all = append(*l.all, text)
	return nil
}

// Replace implements pflag.SliceValue.
func (l *listFlag) Replace(all []string) error {
	*l.all = all
	return nil
}

// GetSlice implements pflag.SliceValue.
func (l *listFlag) GetSlice() []string { return *l.all }

// waitFlag is a duration that may be 0s or not given at all.
type waitFlag struct {
	time.Duration
	given bool
}

func (w *waitFlag) String() string { return "" }
func (w *waitFlag) Type() string   { return "duration" }

func (w *waitFlag) Set(text string) (err error) {
	w.given = true
	w.Duration, err = parseDuration(text)
	if err == nil && w.Duration < 0 {
		err = errors.New("want 0s or more")
	}
	return err
}

// durationFlag is a duration of at most config.MostDuration.
type durationFlag time.Duration

func (d *durationFlag) Type() string { return "duration" }

// String returns "" for 0, which no flag can be given: it stands for a default that
// its text explains.
func (d *durationFlag) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

func (d *durationFlag) Set(text string) error {
	parsed, err := parseDuration(text)
	*d = durationFlag(parsed)
	return err
}

// parseDuration parses a duration of at most config.MostDuration.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		const want = "want a number and a unit, such as 500ms, 30s or 1m30s, and at most 24h"
		if _, err := time.ParseDuration(text + "s"); err == nil {
			return 0, fmt.Errorf("%s; did you mean %ss?", want, text)
		}
		return 0, errors.New(want)
	case d > config.MostDuration:
		return 0, errors.New("want at most 24h")
	}
	return d, nil
}

// isListSign reports whether a character is between the values of a list, for flags that
// take one value each.
func isListSign(r rune) bool { return r == ',' || r == ' ' || r == ';' }

// isList reports whether a text has several values.
func isList(s string) bool { return onceForEach("", s) != "" }

// onceForEach suggests a flag for each value of a list, or returns "" for one value.
func onceForEach(flag, value string) string {
	all := strings.FieldsFunc(value, isListSign)
	if len(all) < 2 {
		return ""
	}
	return fmt.Sprintf("did you mean `%s %s`?", flag, strings.Join(all, " "+flag+" "))
}

// givenFlags returns the flags that a command was given, as they are written, with a space
// after each.
func givenFlags(cmd *cobra.Command) string {
	var all strings.Builder
	cmd.Flags().Visit(func(f *pflag.Flag) {
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand
		}
		if f.NoOptDefVal != "" && f.Value.String() == f.NoOptDefVal {
			all.WriteString(name + " ")
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			if v = report.Safe(v); strings.ContainsAny(v, " '\"$\\*?[;&|<>()") {
				v = "'" + strings.ReplaceAll(v, "'", `'\''`) + "'"
			}
			all.WriteString(name + " " + v + " ")
		}
	})
	return all.String()
}

// notOneOf returns the failure of a flag whose value is none of its words.
func notOneOf(flag, value string, words []string) error {
	return usageError(fmt.Errorf("%s %q: want %s", flag, value, config.OneOf(words)), config.DidYouMean(value, words))
}

// refuseEmpty returns an error for a flag with an empty value, which would have no effect
// although it was given: most often it is a variable of a script that is not set. --port
// reports that itself, with its other problems.
func refuseEmpty(cmd *cobra.Command) error {
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		empty := f.Value.Type() == "string" && f.Value.String() == ""
		if list, ok := f.Value.(pflag.SliceValue); ok && f.Name != "port" {
			empty = slices.Contains(list.GetSlice(), "")
		}
		if empty && err == nil {
			err = usageError(fmt.Errorf("--%s %q is empty: give a value, or leave the flag out", f.Name, ""), "")
		}
	})
	return err
}

// flagNames returns the long flags of a command, such as "--format".
func flagNames(cmd interface{ Flags() *pflag.FlagSet }) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return names
}
