package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// What a report may be at most. The host that wrote it may want our memory: an
// object of three bytes becomes some hundred.
const (
	mostBytes   = 16 << 20
	mostObjects = 1 << 18
	mostValues  = 1 << 21
	mostTargets = 4096
)

// Read reads a report of a check, as -f json writes it, of whoever. What it
// returns can be told in every format: lists are not nil, ports are ports, and
// every result is of one of the targets. Fields that it doesn't know are left
// out, a status that it doesn't know is kept and not ok; whether the rest is ok
// is found out anew. Text is as it was sent, control characters too.
func Read(r io.Reader) (check.Report, error) {
	data, err := io.ReadAll(io.LimitReader(r, mostBytes+1))
	switch {
	case err != nil:
		return check.Report{}, fmt.Errorf("cannot be read: %w", reason(err))
	case len(data) > mostBytes:
		return check.Report{}, errors.New("is larger than 16 MiB, the limit of a report")
	case len(bytes.TrimSpace(data)) == 0:
		return check.Report{}, errors.New("is empty: want what `portcheck check -f json` writes")
	case isCrowded(data):
		return check.Report{}, errors.New("has too many values: want what `portcheck check -f json` writes")
	}
	var report check.Report
	if err := json.Unmarshal(data, &report); err != nil {
		return check.Report{}, jsonError(err)
	}
	if err := validate(report); err != nil {
		return check.Report{}, err
	}
	report.Targets = targetsJSON(report.Targets)
	for i, x := range report.Results {
		x = resultJSON(x, false)
		x.OK = x.OK && x.Status.OK() // a need can be free and not met: another one excludes it
		report.Results[i] = x
	}
	report.Finish()
	return report, nil
}

// reason is an error without the name of the file, which the caller tells.
func reason(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// isCrowded says whether there are more values in a JSON text than any report of
// ours has.
func isCrowded(data []byte) bool {
	objects, values := 0, 0
	inString := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			inString = !inString
		case inString && c == '\\':
			i++
		case inString:
		case c == '{':
			objects++
		case c == ',' || c == '[':
			values++
		}
	}
	return objects > mostObjects || values > mostValues
}

// jsonError says in our words what does not fit.
func jsonError(err error) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind) && kind.Field == "":
		return fmt.Errorf("is a JSON %s: want what `portcheck check -f json` writes", Safe(kind.Value))
	case errors.As(err, &kind):
		return fmt.Errorf("%s does not take a %s (before byte %d)", Safe(kind.Field), Safe(kind.Value), kind.Offset)
	case errors.As(err, &syntax):
		return fmt.Errorf("is not JSON, or not all of it (byte %d): %w", syntax.Offset, err)
	}
	return fmt.Errorf("is no report: %s", Safe(err.Error()))
}

// validate finds what no report of ours has.
func validate(r check.Report) error {
	switch {
	case r.Version == 0:
		return errors.New("is no report of portcheck: version is missing")
	case r.Version != jsonVersion:
		return fmt.Errorf("is of version %d of the report; this portcheck reads version %d", r.Version, jsonVersion)
	case r.Problems == nil || r.Targets == nil || r.Results == nil:
		return errors.New("is no report of a check: it needs problems, targets and results")
	case len(r.Results) == 0 && len(r.Problems) == 0:
		return errors.New("is a report of nothing: it has no results")
	case len(r.Targets) > mostTargets:
		return fmt.Errorf("has more than %d targets", mostTargets)
	}
	for i, p := range r.Problems {
		if p.Line < 0 || p.Column < 0 || p.Message == "" {
			return fmt.Errorf("problems[%d]: want a message, and a line and a column from 1", i)
		}
	}
	targets := map[string]bool{}
	for i, t := range r.Targets {
		if err := validateTarget(t, targets); err != nil {
			return fmt.Errorf("targets[%d].%w", i, err)
		}
		targets[t.Name] = true
	}
	ids := map[string]bool{}
	for i, x := range r.Results {
		if err := validateResult(x, targets, ids); err != nil {
			return fmt.Errorf("results[%d].%w", i, err)
		}
		ids[x.ID] = true
	}
	return nil
}

func validateTarget(t check.TargetReport, known map[string]bool) error {
	switch {
	case t.Name == "":
		return errors.New("name is missing")
	case known[t.Name]:
		return fmt.Errorf("name: there are two of %q", Safe(t.Name))
	}
	if _, err := port.ParseRange(t.Ephemeral); t.Ephemeral != "" && err != nil {
		return fmt.Errorf("ephemeral: %s", Safe(err.Error()))
	}
	return validateNotices(t.Notices)
}

func validateResult(r check.Result, targets, ids map[string]bool) error {
	label, named := strings.CutSuffix(r.ID, "@"+r.Target+"/"+string(r.Protocol))
	switch {
	case r.Name == "":
		return errors.New("name is missing")
	case !named || label != r.Name && !strings.HasSuffix(label, "/"+r.Name):
		return fmt.Errorf("id %q: want APP/NAME@TARGET/PROTOCOL, as the result has them", Safe(r.ID))
	case ids[r.ID]:
		return fmt.Errorf("id: there are two of %q", Safe(r.ID))
	case !targets[r.Target]:
		return fmt.Errorf("target: there is no %q among the targets", Safe(r.Target))
	case r.Status == "":
		return errors.New("status is missing: want a report of a check, not one of lint")
	case !slices.Contains(port.Protocols, r.Protocol):
		return fmt.Errorf("protocol %q: want tcp or udp", Safe(string(r.Protocol)))
	case r.Expect != config.Free && r.Expect != config.Listening && r.Expect != config.Reachable:
		return fmt.Errorf("expect %q: want free, listening or reachable", Safe(string(r.Expect)))
	case !isSeverity(r.Severity):
		return fmt.Errorf("severity %q: want error or warning", Safe(string(r.Severity)))
	case r.Port == 0 || r.PortLast != 0 && r.PortLast <= r.Port:
		return fmt.Errorf("port: %d to %d is no block of ports", r.Port, r.PortLast)
	case r.Source.Line < 0 || r.Source.Column < 0:
		return errors.New("source: want a line and a column from 1")
	case slices.Contains(r.Alternatives, 0):
		return errors.New("alternatives: 0 is not a port")
	}
	for i, h := range r.Holders {
		if h.PID < 0 || h.UID != nil && *h.UID < 0 {
			return fmt.Errorf("holders[%d]: want a pid from 1 and a uid from 0", i) // to kill -1 would end everything
		}
	}
	if err := validateCandidates(r.Candidates); err != nil {
		return err
	}
	return validateNotices(r.Notices)
}

// validateCandidates bounds what has to be walked through.
func validateCandidates(text string) error {
	if text == "" {
		return nil
	}
	set, err := port.ParseSet(text)
	count := 0
	for _, r := range set {
		count += r.Len()
	}
	switch {
	case err != nil:
		return fmt.Errorf("candidates: %s", Safe(err.Error()))
	case count > port.MaxPort:
		return errors.New("candidates: a port is in there more than once")
	}
	return nil
}

func validateNotices(notices []check.Notice) error {
	for i, n := range notices {
		if n.Severity != "" && !isSeverity(n.Severity) {
			return fmt.Errorf("notices[%d].severity %q: want error or warning", i, Safe(string(n.Severity)))
		}
	}
	return nil
}

func isSeverity(s config.Severity) bool {
	return s == config.SeverityError || s == config.SeverityWarning
}
