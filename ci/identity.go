package ci

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// identities lists the variables that together are one job of a CI system, each with
// the documentation that system has in systems. The first is the one that every job
// of the system has. Legs of a matrix and attempts are jobs of their own.
var identities = map[string][]string{
	"GitHub Actions":      {"GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB", "RUNNER_NAME"}, // the legs of a matrix share the first three
	"GitLab":              {"CI_JOB_ID"},
	"Jenkins":             {"BUILD_TAG", "NODE_NAME", "EXECUTOR_NUMBER"}, // a pipeline's parallel nodes share the first
	"Azure Pipelines":     {"SYSTEM_JOBID", "BUILD_BUILDID", "SYSTEM_JOBATTEMPT", "AGENT_NAME"},
	"Bitbucket Pipelines": {"BITBUCKET_STEP_UUID"},
	"CircleCI":            {"CIRCLE_WORKFLOW_JOB_ID", "CIRCLE_NODE_INDEX"},
	"Travis CI":           {"TRAVIS_JOB_ID"},
	"Buildkite":           {"BUILDKITE_JOB_ID"},
	"Drone":               {"DRONE_BUILD_NUMBER", "DRONE_REPO", "DRONE_STAGE_NUMBER"},
	"Woodpecker":          {"CI_PIPELINE_NUMBER", "CI_REPO", "CI_WORKFLOW_NUMBER"},
	"AppVeyor":            {"APPVEYOR_JOB_ID"},
	"Cirrus CI":           {"CIRRUS_TASK_ID"},
	"CodeBuild":           {"CODEBUILD_BUILD_ID"},
	"TeamCity":            {"BUILD_NUMBER", "TEAMCITY_PROJECT_NAME", "TEAMCITY_BUILDCONF_NAME"},
}

// Identity returns a text that is the same for all steps of one CI job and differs
// between jobs, or "" if no CI system says which job this is.
func Identity(env Env) string {
	s, _ := running(env)
	names := identities[s.name]
	if len(names) == 0 || env[names[0]] == "" {
		return ""
	}
	parts := []string{s.name}
	for _, name := range names {
		parts = append(parts, strings.NewReplacer("%", "%25", "/", "%2F").Replace(env[name]))
	}
	return strings.Join(parts, "/")
}

// JobVariable is the variable that names a job for portcheck itself.
const JobVariable = "PORTCHECK_JOB"

// JobVariables returns the names of all variables by which a process is known as one of
// a job.
func JobVariables() []string {
	all := []string{JobVariable}
	for _, s := range systems {
		all = append(all, s.set)
	}
	for _, names := range identities {
		all = append(all, names...)
	}
	return all
}

// numbered are the systems of which the first variable of a job is a number.
var numbered = []string{"GitHub Actions", "GitLab", "Travis CI"}

// JobWord returns a name of a job for a sentence. Any process can have any name in its
// environment, so one that is not a plain word is in quotes, and can't go on with the
// sentence.
func JobWord(name string) string {
	odd := func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && !strings.ContainsRune("._-{}:/@", c)
	}
	if name == "" || strings.ContainsFunc(name, odd) {
		return strconv.QuoteToASCII(name)
	}
	return name
}

// DescribeJob returns the job of Identity for people: "run 123 of job e2e".
func DescribeJob(env Env) string {
	s, _ := running(env)
	id := env[firstOf(identities[s.name])]
	if id == "" {
		return ""
	}
	if slices.Contains(numbered, s.name) && strings.Trim(id, "0123456789") != "" {
		id = strconv.QuoteToASCII(id)
	} else {
		id = JobWord(id)
	}
	switch {
	case s.set == githubActions:
		return "run " + id + " of job " + JobWord(env["GITHUB_JOB"])
	case s.name == "Jenkins":
		return "build " + id
	default:
		return "job " + id + " of " + s.name
	}
}

func firstOf(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// TimeLeft returns how long the CI job may still take, or 0 if that is not known.
func TimeLeft(env Env, now time.Time) time.Duration {
	if s, _ := running(env); s.name != "GitLab" {
		return 0
	}
	start, err := time.Parse(time.RFC3339, env["CI_JOB_STARTED_AT"])
	if err != nil {
		return 0
	}
	seconds, err := strconv.ParseUint(env["CI_JOB_TIMEOUT"], 10, 31)
	if err != nil {
		return 0
	}
	return max(start.Add(time.Duration(seconds)*time.Second).Sub(now), 0)
}
