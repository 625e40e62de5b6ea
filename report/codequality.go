package report

import (
	"cmp"
	"io"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// qualityIssue is an issue of GitLab's report.
// https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
type qualityIssue struct {
	Description string          `json:"description"`
	CheckName   string          `json:"check_name"`
	Fingerprint string          `json:"fingerprint"`
	Severity    string          `json:"severity"`
	Location    qualityLocation `json:"location"`
}

type qualityLocation struct {
	Path  string       `json:"path"`
	Lines qualityLines `json:"lines"`
}

type qualityLines struct {
	Begin int `json:"begin"`
}

// codeQuality writes a Code Quality report for GitLab, which shows each issue
// on one line.
func codeQuality(w io.Writer, r check.Report, o Options) error {
	issues := []qualityIssue{}
	seen := fingerprints{}
	for _, f := range append(findings(r), warningFindings(r)...) {
		at := location(f.at, o)
		issues = append(issues, qualityIssue{
			Description: cmp.Or(strings.Join(f.lines(), "; "), "portcheck"), // GitLab requires a description
			CheckName:   "portcheck/" + Safe(f.code),
			Fingerprint: seen.of(f),
			Severity:    qualitySeverity(f),
			Location:    qualityLocation{at.File, qualityLines{at.Line}},
		})
	}
	return writeJSON(w, issues)
}

func qualitySeverity(f finding) string {
	switch {
	case f.severity == note:
		return "info"
	case f.severity == config.SeverityWarning:
		return "minor"
	case f.code == manifestCode:
		return "blocker" // nothing was probed
	case f.code == string(check.Unknown):
		return "major"
	default:
		return "critical"
	}
}
