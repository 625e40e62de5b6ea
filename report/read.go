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

// Limits of a report. A hostile one could exhaust the memory: an object of three
// bytes in JSON takes some hundred once decoded.
const (
	maxBytes   = 16 << 20
	maxObjects = 1 << 18
	maxValues  = 1 << 21
	maxTotal   = 32 << 20 // bytes of all reports of a merge
	// Outputs write some bytes as up to six.
	maxWeight = 40 << 20
	// One for each result: a format may write more for a notice than for a result.
	maxNotices = check.MostResults
)

const wantReport = "want the output of `portcheck check -f json`"

// Reader reads reports that are in memory at the same time. The limits hold for all
// of them together.
type Reader struct{ bytes, weight, objects, values, results, notices int }

// Read reads a report of check as -f json writes it, from a source that need not
// be trusted. Every format can write what it returns: lists are not nil, ports
// are valid, and each result belongs to one of the targets. Unknown fields are
// dropped. An unknown status is kept and is not ok. Read derives the report's OK
// and summary from the results. Text is raw, with any control characters.
func (l *Reader) Read(r io.Reader) (check.Report, error) {
	data, err := readJSON(r)
	switch {
	case err != nil:
		return check.Report{}, err
	case len(data) > maxBytes:
		return check.Report{}, errors.New("is larger than 16 MiB, the limit of a report")
	case len(bytes.TrimSpace(data)) == 0:
		return check.Report{}, errors.New("is empty: " + wantReport)
	}
	if err := l.count(data); err != nil {
		return check.Report{}, err
	}
	report, err := l.parse(data)
	if err != nil {
		return check.Report{}, err
	}
	report.Targets = targetsJSON(report.Targets)
	systems := map[string]string{}
	for _, t := range report.Targets {
		systems[t.Name] = t.OS
	}
	for i, x := range report.Results {
		x = resultJSON(x, false)
		x.OS = systems[x.Target]
		x.OK = x.OK && x.Met() // a need can be free and not ok: another one excludes it
		report.Results[i] = x
	}
	report.Finish()
	return report, nil
}

// readJSON reads one byte more than maxBytes at most, without the byte order mark of
// UTF-8. UTF-16 is an error: `>` of Windows PowerShell writes it.
func readJSON(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", innermost(err))
	}
	for _, start := range []string{"\xff\xfe", "\xfe\xff", "{\x00", "\x00{"} {
		if bytes.HasPrefix(data, []byte(start)) {
			return nil, errors.New("is UTF-16: save it as UTF-8")
		}
	}
	if len(data) <= maxBytes {
		data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	}
	return data, nil
}

// innermost returns the cause of an error, without the file name that the caller
// adds.
func innermost(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// parse parses a report and validates it. It decodes one result after the other,
// so that results that are not valid take no memory.
func (l *Reader) parse(data []byte) (check.Report, error) {
	var read struct {
		check.Report
		Results []json.RawMessage `json:"results"`
	}
	if err := json.Unmarshal(data, &read); err != nil {
		return check.Report{}, jsonError(err)
	}
	report := read.Report
	if read.Results != nil {
		report.Results = []check.Result{}
	}
	if err := validate(report, len(read.Results)); err != nil {
		return check.Report{}, err
	}
	if l.results += len(read.Results); l.results > check.MostResults {
		return check.Report{}, fmt.Errorf("with this report there are more than %d results, the limit of a merge", check.MostResults)
	}
	report.Results = make([]check.Result, len(read.Results))
	targets, ids := map[string]bool{}, map[string]bool{}
	for _, t := range report.Targets {
		targets[t.Name] = true
		l.notices += len(t.Notices)
	}
	for i, text := range read.Results {
		x := &report.Results[i]
		x.Holders = make([]check.Holder, 0, holdersIn(text))
		if err := json.Unmarshal(text, x); err != nil {
			if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
				kind.Field = strings.TrimSuffix("results."+kind.Field, ".")
				kind.Offset += int64(bytes.Index(data, text))
			}
			return check.Report{}, jsonError(err)
		}
		read.Results[i] = nil
		if err := validateResult(*x, targets, ids); err != nil {
			return check.Report{}, fmt.Errorf("results[%d].%w", i, err)
		}
		if l.notices += len(x.Notices); l.notices > maxNotices {
			return check.Report{}, fmt.Errorf("with this report there are more than %d notices, the limit of a merge: merge fewer reports", maxNotices)
		}
		ids[x.ID] = true
	}
	return report, nil
}

// holdersIn returns how many holders the JSON text of a result has, for a list of that
// size: while a list of 260,000 holders grows, two of them are in memory. It is 0 if the
// text is not valid.
func holdersIn(text []byte) int {
	var r struct {
		Holders []struct{} `json:"holders"` // which take no memory
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return 0
	}
	return len(r.Holders)
}

// grows lists the characters that formats escape, besides those outside of ASCII.
const grows = "&<>'#@`*_[]|~"

// count returns an error if a JSON text has more values than the limits allow.
func (l *Reader) count(data []byte) error {
	objects, values, weight := 0, 0, len(data)
	inString := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			inString = !inString
		case inString && c == '\\':
			i++
		case inString && (c >= 0x7f || strings.IndexByte(grows, c) >= 0):
			weight += 5
		case inString:
		case c == '{' || c == 'n': // a null in a list takes as much as an object
			objects++
		case c == ',' || c == '[':
			values++
		}
	}
	l.bytes, l.weight, l.objects, l.values = l.bytes+len(data), l.weight+weight, l.objects+objects, l.values+values
	switch {
	case objects > maxObjects || values > maxValues:
		return errors.New("has too many values: want the output of `portcheck check -f json`")
	case l.bytes > maxTotal:
		return errors.New("with this report there are more than 32 MiB of reports, the limit of a merge: merge fewer reports")
	case l.weight > maxWeight:
		return errors.New("with this report there is too much text with markup or letters outside of ASCII for a merge: merge fewer reports")
	case l.objects > maxObjects || l.values > maxValues:
		return errors.New("with this report there are too many values for a merge: merge fewer reports")
	}
	return nil
}

// jsonError describes an error of the JSON decoder in terms of the report.
func jsonError(err error) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind) && kind.Field == "":
		return fmt.Errorf("is a JSON %s: %s", Safe(kind.Value), wantReport)
	case errors.As(err, &kind):
		field := strings.TrimPrefix(kind.Field, "Report.") // of the struct, not of the file
		return fmt.Errorf("%s can't be a %s (before byte %d): %s", Safe(field), Safe(kind.Value), kind.Offset, wantReport)
	case errors.As(err, &syntax):
		return fmt.Errorf("is not JSON, or is incomplete (byte %d): %w; %s", syntax.Offset, err, wantReport)
	}
	return fmt.Errorf("is not a report: %s", Safe(err.Error()))
}

// validate returns an error for a report that check can't have written. Its results
// are not decoded yet.
func validate(r check.Report, results int) error {
	switch {
	case r.Version == 0:
		return errors.New("is not a report of portcheck: version is missing; " + wantReport)
	case r.Version != jsonVersion:
		return fmt.Errorf("has report version %d; this portcheck reads version %d", r.Version, jsonVersion)
	case r.Problems == nil || r.Targets == nil || r.Results == nil:
		return errors.New("is not a report of check: want problems, targets and results; " + wantReport)
	case results == 0 && len(r.Problems) == 0:
		return errors.New("has no results")
	case len(r.Targets) > check.MostTargets:
		return fmt.Errorf("has more than %d targets", check.MostTargets)
	case len(r.Problems) > check.MostProblems:
		return fmt.Errorf("has %d problems, and at most %d are read", len(r.Problems), check.MostProblems)
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
	return nil
}

func validateTarget(t check.TargetReport, known map[string]bool) error {
	switch {
	case t.Name == "":
		return errors.New("name is missing")
	case known[t.Name]:
		return fmt.Errorf("name: %q occurs twice", Safe(t.Name))
	}
	if _, err := port.ParseRange(t.Ephemeral); t.Ephemeral != "" && err != nil {
		return fmt.Errorf("ephemeral: %s", Safe(err.Error()))
	}
	if err := validateSet("reserved", t.Reserved); err != nil {
		return err
	}
	return validateNotices(t.Notices)
}

func validateResult(r check.Result, targets, ids map[string]bool) error {
	label, named := strings.CutSuffix(r.ID, "@"+r.Target+"/"+string(r.Protocol))
	switch {
	case r.Name == "":
		return errors.New("name is missing")
	case !named || label != r.Name && !strings.HasSuffix(label, "/"+r.Name) || r.App != "" && label != r.App+"/"+r.Name:
		return fmt.Errorf("id %q: want APP/NAME@TARGET/PROTOCOL with the name, target and protocol of the result", Safe(r.ID))
	case ids[r.ID]:
		return fmt.Errorf("id: %q occurs twice", Safe(r.ID))
	case !targets[r.Target]:
		return fmt.Errorf("target: %q is not one of the targets", Safe(r.Target))
	case r.Status == "":
		return errors.New("status is missing: want a report of check, not one of lint")
	case !slices.Contains(port.Protocols, r.Protocol):
		return fmt.Errorf("protocol %q: want tcp or udp", Safe(string(r.Protocol)))
	case !slices.Contains(config.Expects(), string(r.Expect)):
		return fmt.Errorf("expect %q: want %s", Safe(string(r.Expect)), config.OneOf(config.Expects()))
	case !isSeverity(r.Severity):
		return fmt.Errorf("severity %q: want error or warning", Safe(string(r.Severity)))
	case r.Port == 0 || r.PortLast != 0 && r.PortLast <= r.Port:
		return fmt.Errorf("port: %d to %d is not a block of ports", r.Port, r.PortLast)
	case r.Source.Line < 0 || r.Source.Column < 0:
		return errors.New("source: want a line and a column from 1")
	case slices.Contains(r.Alternatives, 0):
		return errors.New("alternatives: 0 is not a port")
	}
	for i, h := range r.Holders {
		if h.PID < 0 || h.From().Master < 0 || h.From().Starter < 0 || h.From().SupervisorPID < 0 || h.From().ShellPID < 0 || h.UID != nil && *h.UID < 0 {
			return fmt.Errorf("holders[%d]: want pids from 1 and a uid from 0", i) // `kill -1` ends every process
		}
	}
	if err := validateSet("candidates", r.Candidates); err != nil {
		return err
	}
	return validateNotices(r.Notices)
}

// validateSet bounds the number of ports, which are iterated over.
func validateSet(name, text string) error {
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
		return fmt.Errorf("%s: %s", name, Safe(err.Error()))
	case count > port.MaxPort:
		return fmt.Errorf("%s: a port occurs more than once", name)
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
