package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

const (
	projectURL = "https://github.com/org/portcheck"

	// sarifResults is the number of results that GitHub accepts in a file. It
	// shows the 5,000 of the highest level.
	// https://docs.github.com/en/code-security/reference/code-scanning/sarif-files/sarif-support
	sarifResults = 25_000
)

// The part of SARIF 2.1.0 that is written, named as in the standard.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		ColumnKind  string            `json:"columnKind"`
		Results     []sarifResult     `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name            string      `json:"name"`
		InformationURI  string      `json:"informationUri"`
		Version         string      `json:"version"`
		SemanticVersion string      `json:"semanticVersion"`
		Rules           []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID                   string      `json:"id"`
		Name                 string      `json:"name"`
		ShortDescription     sarifText   `json:"shortDescription"`
		FullDescription      sarifText   `json:"fullDescription"`
		Help                 sarifText   `json:"help"`
		HelpURI              string      `json:"helpUri"`
		DefaultConfiguration sarifConfig `json:"defaultConfiguration"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifConfig struct {
		Level string `json:"level"`
	}
	sarifInvocation struct {
		EndTimeUTC          time.Time           `json:"endTimeUtc,omitzero"`
		Machine             string              `json:"machine,omitempty"`
		ExecutionSuccessful bool                `json:"executionSuccessful"`
		Notifications       []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level   string    `json:"level"`
		Message sarifText `json:"message"`
	}
	sarifResult struct {
		RuleID              string            `json:"ruleId"`
		RuleIndex           int               `json:"ruleIndex"`
		Level               string            `json:"level"`
		Message             sarifText         `json:"message"`
		Locations           []sarifLocation   `json:"locations"`
		PartialFingerprints map[string]string `json:"partialFingerprints"`
	}
	sarifLocation struct {
		PhysicalLocation sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		ArtifactLocation sarifArtifact `json:"artifactLocation"`
		Region           sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn"`
		EndLine     int `json:"endLine"`
		EndColumn   int `json:"endColumn"`
	}
)

// sarif writes a SARIF log for GitHub's code scanning and similar readers. A met
// need is not a result: code scanning would raise an alert for it.
func sarif(w io.Writer, r check.Report, o Options) error {
	results := []sarifResult{}
	seen := fingerprints{}
	for _, f := range findings(r) {
		results = append(results, sarifResultOf(f, seen, o))
	}
	run := sarifInvocation{EndTimeUTC: r.Generated, ExecutionSuccessful: len(r.Problems) == 0}
	if len(r.Targets) == 1 && !r.Merged { // of several there is no field
		run.Machine = Safe(r.Targets[0].Hostname)
	}
	// A target has no position in a file, and a result needs one.
	for _, t := range r.Targets {
		for _, n := range t.Notices {
			text := fmt.Sprintf("target %s: %s", Safe(t.Name), sentence(n.Message))
			run.Notifications = append(run.Notifications, sarifNotification{sarifLevel(noticeSeverity(n)), sarifText{Text: escapeLinks(text)}})
		}
	}
	if more := len(results) - sarifResults; more > 0 {
		slices.SortStableFunc(results, func(a, b sarifResult) int { return cmp.Compare(sarifWeight(a), sarifWeight(b)) })
		results = results[:sarifResults]
		text := fmt.Sprintf("%s left out: code scanning takes %d in one file", check.Counted(more, "result"), sarifResults)
		run.Notifications = append(run.Notifications, sarifNotification{"warning", sarifText{Text: text}})
	}
	return writeJSON(w, sarifLog{
		Schema:  "https://json.schemastore.org/sarif-2.1.0.json",
		Version: "2.1.0",
		Runs: []sarifRun{{
			Tool:        sarifTool{sarifDriverOf(r.Tool)},
			Invocations: []sarifInvocation{run},
			ColumnKind:  "unicodeCodePoints",
			Results:     results,
		}},
	})
}

func sarifDriverOf(tool string) sarifDriver {
	_, version, _ := strings.Cut(tool, " ")
	if version = strings.TrimPrefix(version, "v"); !isSemVer(version) {
		version = "0.0.0-devel" // readers compare versions, and "devel" is not one
	}
	d := sarifDriver{Name: "portcheck", InformationURI: projectURL, Version: version, SemanticVersion: version}
	for _, c := range codes {
		d.Rules = append(d.Rules, sarifRule{
			ID: c.id, Name: c.name,
			ShortDescription:     sarifText{Text: c.title + "."},
			FullDescription:      sarifText{Text: c.means},
			Help:                 sarifText{Text: c.means + " " + c.help, Markdown: c.means + " " + c.cause + "\n\n" + c.help},
			HelpURI:              projectURL + "/blob/v1/docs/verdicts.md#" + c.id,
			DefaultConfiguration: sarifConfig{sarifLevel(c.level)},
		})
	}
	return d
}

func sarifResultOf(f finding, seen fingerprints, o Options) sarifResult {
	rule := slices.IndexFunc(codes, func(c code) bool { return c.id == f.code })
	if rule < 0 { // a status of a later version
		rule = slices.IndexFunc(codes, func(c code) bool { return c.id == string(check.Unknown) })
	}
	at := location(f.at, o)
	return sarifResult{
		RuleID: codes[rule].id, RuleIndex: rule, Level: sarifLevel(f.severity),
		Message: sarifText{Text: escapeLinks(cmp.Or(strings.Join(f.lines(), "\n"), codes[rule].title))},
		// The report has the start of a value but not its end.
		Locations: []sarifLocation{{sarifPhysical{
			sarifArtifact{relativeURI(at.File)},
			sarifRegion{StartLine: at.Line, StartColumn: at.Column, EndLine: at.Line, EndColumn: at.Column + 1},
		}}},
		PartialFingerprints: map[string]string{"portcheck/v1": seen.of(f)},
	}
}

func sarifLevel(s config.Severity) string {
	switch s {
	case note:
		return "note"
	case config.SeverityWarning:
		return "warning"
	default:
		return "error"
	}
}

func sarifWeight(r sarifResult) int {
	return slices.Index([]string{"error", "warning", "note"}, r.Level)
}

// escapeLinks breaks what SARIF takes for a link in a text.
func escapeLinks(s string) string { return strings.ReplaceAll(s, "](", `]\x28`) }

// relativeURI returns a path as a URI reference without a scheme or a host.
func relativeURI(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		if isAlphanumeric(c) || strings.IndexByte("/-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// isSemVer reports whether a version has the form of semver.org, or is close
// enough to be sorted by it.
func isSemVer(version string) bool {
	core, rest := version, ""
	if i := strings.IndexAny(version, "-+"); i >= 0 {
		core, rest = version[:i], version[i+1:]
		if rest == "" {
			return false
		}
	}
	parts := strings.Split(core, ".")
	for _, p := range parts {
		if p == "" || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return len(parts) == 3 && !strings.ContainsFunc(rest, func(r rune) bool {
		return r > 0x7f || !isAlphanumeric(byte(r)) && !strings.ContainsRune("-+.", r)
	})
}
