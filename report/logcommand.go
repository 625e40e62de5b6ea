package report

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// logCommand is a text by which a program speaks to the system that shows its
// output.
type logCommand struct {
	system string // CI systems that read it
	start  string // how it starts
	effect string
	inert  string // why it has no effect in the output of portcheck
	source string

	// doubled is the character that starts the command if it occurs twice in
	// succession. The second one is escaped, whatever follows: the command's name may
	// be in another text. It is 0 if nothing has to be escaped for this command.
	doubled rune
	first   bool // only as the first characters of a line, after blanks
}

const (
	broken   = "broken up"
	controls = "needs control characters, which are escaped"
	folds    = "left as it is: it only folds lines of the log, or times them"
)

// logCommands are the known ones. None are known for AppVeyor, Bamboo,
// Bitbucket, CircleCI, Cirrus CI and Woodpecker.
var logCommands = []logCommand{
	{
		system: "GitHub Actions, Gitea, Forgejo", start: "`::command::` at the start of a line, after blanks",
		effect: "masks text, stops commands, adds annotations", inert: broken, doubled: ':', first: true,
		source: "https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs",
	},
	{
		system: "GitHub Actions, Gitea, Forgejo", start: "`##[command]` anywhere in a line",
		effect: "the same", inert: broken, doubled: '#',
		source: "https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs",
	},
	{
		system: "Azure Pipelines", start: "`##vso[area.command]` anywhere in a line",
		effect: "sets variables and secrets, uploads files, ends the task; `##vso` alone gives a warning", inert: broken, doubled: '#',
		source: "https://github.com/microsoft/azure-pipelines-agent/blob/master/src/Microsoft.VisualStudio.Services.Agent/Command.cs",
	},
	{
		system: "Azure Pipelines", start: "`##[format]` at the start of a line",
		effect: "shows a line as an error or a heading, starts a group", inert: broken, doubled: '#',
		source: "https://learn.microsoft.com/en-us/azure/devops/pipelines/scripts/logging-commands#formatting-commands",
	},
	{
		system: "TeamCity", start: "`##teamcity[message` anywhere in a line",
		effect: "sets parameters, publishes files, changes the build's status", inert: broken, doubled: '#',
		source: "https://www.jetbrains.com/help/teamcity/service-messages.html",
	},
	{
		system: "Octopus Deploy", start: "`##octopus[message` anywhere in a line",
		effect: "sets variables, publishes files", inert: broken, doubled: '#',
		source: "https://github.com/OctopusDeploy/Calamari/blob/main/source/Calamari.Common/Plumbing/ServiceMessages/ServiceMessageParser.cs",
	},
	{
		system: "Continua CI", start: "`@@continua[message`",
		effect: "sets variables, changes the build's status", inert: broken, doubled: '@',
		source: "https://docs.finalbuilder.com/fb/8.0/actions-reference/continua-ci-actions/continua-ci-actions.html",
	},
	{
		system: "GitLab, Jenkins with junit-attachments", start: "`[[ATTACHMENT` in JUnit's XML",
		effect: "attaches a file of the job to the test", inert: "broken up in `junit`",
		source: "https://docs.gitlab.com/ci/testing/unit_test_reports/",
	},
	{
		system: "Jenkins", start: "`ESC[8mha:`",
		effect: "is decoded to an object", inert: controls,
		source: "https://github.com/jenkinsci/jenkins/blob/master/core/src/main/java/hudson/console/ConsoleNote.java",
	},
	{
		system: "Drone, Harness", start: "`ESC]1338;`",
		effect: "shows a card in the page of the build", inert: controls,
		source: "https://docs.drone.io/plugins/adaptive_cards",
	},
	{
		system: "Buildkite", start: "`ESC]1338;`, `ESC]1339;`, `ESC_bk;`",
		effect: "shows an image or a link, sets the time of a line", inert: controls,
		source: "https://buildkite.com/docs/pipelines/configure/links-and-images-in-log-output",
	},
	{
		system: "GitLab", start: "`section_start:` and `section_end:` up to `CR ESC[0K`",
		effect: "folds lines", inert: controls,
		source: "https://docs.gitlab.com/ci/jobs/job_logs/",
	},
	{
		system: "Travis CI", start: "`travis_fold:`, `travis_time:`",
		effect: "folds lines, shows how long they took", inert: folds,
		source: "https://github.com/travis-ci/travis-build/blob/master/lib/travis/build/bash/travis_fold.bash",
	},
	{
		system: "Buildkite", start: "`---`, `+++`, `~~~`, `^^^` at the start of a line",
		effect: "starts or opens a group of lines", inert: folds,
		source: "https://buildkite.com/docs/pipelines/configure/managing-log-output",
	},
}

// ignored are the visible characters that are no marks and that ICU's collation
// ignores (found by comparing each with ICU 78).
const ignored = "\u0640\u07fa\u180a\u1cd3\ufe73"

// commandStart reads a text character by character to find the starts of commands.
// Its zero value is for the start of a line.
type commandStart struct {
	last  rune // the last character that was not skipped
	count int  // characters before r, without those that were skipped
}

// completedBy reports whether r, the next character, completes the start of a
// command.
func (c *commandStart) completedBy(r rune) bool {
	// The agents of GitHub and Azure search by the rules of a language, by which some
	// marks, such as U+FE0F, and the letters of ignored are as good as absent.
	// https://learn.microsoft.com/en-us/dotnet/core/extensions/globalization-icu
	if r == ' ' && c.count == 0 || r >= utf8.RuneSelf && visible(r) && (unicode.Is(unicode.M, r) || strings.ContainsRune(ignored, r)) {
		return false
	}
	twice := r == c.last
	first := c.count == 1
	c.last = r
	c.count++
	if !twice {
		return false
	}
	for _, k := range logCommands {
		if k.doubled == r && (first || !k.first) {
			c.last = 0 // "###" has one start, not two
			return true
		}
	}
	return false
}
