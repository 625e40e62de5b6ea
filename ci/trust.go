package ci

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// sign is a variable that marks the job of a change which somebody without access
// to the repository may have written.
type sign struct {
	name string
	// The values that mark such a job: one of words, or any that starts with
	// prefix, or else any that is neither empty nor in no.
	words  []string
	prefix string
	no     []string
	// unless is another variable. If it is set, this one means nothing.
	unless string
	about  string // a predicate of "this job"
	source string // where the CI system documents the variable
}

const (
	pullRequest   = "is for a pull request"
	mergeRequest  = "is for a merge request"
	changeRequest = "is for a change request"

	githubEvents    = "https://docs.github.com/actions/reference/workflows-and-actions/events-that-trigger-workflows"
	githubVariables = "https://docs.github.com/actions/reference/workflows-and-actions/variables"
	gitlabVariables = "https://docs.gitlab.com/ci/variables/predefined_variables/"
	azureVariables  = "https://learn.microsoft.com/azure/devops/pipelines/build/variables"
	circleVariables = "https://circleci.com/docs/variables/"
	woodpecker      = "https://woodpecker-ci.org/docs/usage/environment"
)

// signs lists the variables of all CI systems, in the order in which they are
// looked at. Gitea and Forgejo set those of GitHub.
var signs = []sign{
	{name: "GITHUB_EVENT_NAME", words: []string{"pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment"}, about: pullRequest, source: githubEvents},
	{name: "GITHUB_EVENT_NAME", prefix: "pull_request", about: pullRequest, source: "https://forgejo.org/docs/latest/user/actions/reference/"},
	// Anybody may comment, and such a job usually checks out the pull request.
	{name: "GITHUB_EVENT_NAME", words: []string{"issue_comment"}, about: "is for a comment, which may be about a pull request", source: githubEvents},
	{name: "GITHUB_EVENT_NAME", words: []string{"merge_group"}, about: "is for a merge queue, which holds pull requests", source: githubEvents},
	// These have secrets that the first run lacks, and often use files of that run.
	{name: "GITHUB_EVENT_NAME", words: []string{"workflow_run", "check_run", "check_suite", "status"}, about: "follows another, which may be for a pull request", source: githubEvents},
	// GITHUB_REF is empty if the deployment is of a commit, which may be that of a pull request.
	{name: "GITHUB_EVENT_NAME", words: []string{"deployment", "deployment_status"}, unless: "GITHUB_REF", about: "is for a deployment of a commit, which may be of a pull request", source: githubEvents},
	{name: "GITHUB_HEAD_REF", about: pullRequest, source: githubVariables},
	{name: "GITHUB_REF", prefix: "refs/pull/", about: pullRequest, source: githubVariables},
	{name: "GITHUB_REF", prefix: "refs/heads/gh-readonly-queue/", about: "is for a merge queue, which holds pull requests", source: "https://docs.github.com/repositories/configuring-branches-and-merges-in-your-repository/configuring-pull-request-merges/managing-a-merge-queue"},

	{name: "CI_PIPELINE_SOURCE", words: []string{"merge_request_event", "external_pull_request_event"}, about: mergeRequest, source: gitlabVariables},
	// In a child pipeline, CI_PIPELINE_SOURCE is parent_pipeline.
	{name: "CI_MERGE_REQUEST_IID", about: mergeRequest, source: gitlabVariables},
	{name: "CI_EXTERNAL_PULL_REQUEST_IID", about: mergeRequest, source: gitlabVariables},

	{name: "CHANGE_ID", about: changeRequest, source: "https://www.jenkins.io/doc/book/pipeline/multibranch/"},
	{name: "ghprbPullId", about: pullRequest, source: "https://plugins.jenkins.io/ghprb/"},
	{name: "gitlabMergeRequestIid", about: mergeRequest, source: "https://plugins.jenkins.io/gitlab-plugin/"},
	{name: "BITBUCKET_PULL_REQUEST_ID", about: pullRequest, source: "https://plugins.jenkins.io/bitbucket-push-and-pull-request/"},
	{name: "GERRIT_EVENT_TYPE", no: []string{"change-merged", "ref-updated"}, about: changeRequest, source: "https://plugins.jenkins.io/gerrit-trigger/"},

	{name: "BUILD_REASON", words: []string{"PullRequest"}, about: pullRequest, source: azureVariables},
	{name: "SYSTEM_PULLREQUEST_PULLREQUESTID", about: pullRequest, source: azureVariables},
	{name: "BUILD_SOURCEBRANCH", prefix: "refs/pull/", about: pullRequest, source: azureVariables},

	{name: "BITBUCKET_PR_ID", about: pullRequest, source: "https://support.atlassian.com/bitbucket-cloud/docs/variables-and-secrets/"},

	{name: "CIRCLE_PULL_REQUEST", about: pullRequest, source: circleVariables},
	{name: "CIRCLE_PR_NUMBER", about: pullRequest, source: circleVariables},
	{name: "CIRCLE_BRANCH", prefix: "pull/", about: pullRequest, source: "https://circleci.com/docs/oss/"},

	{name: "TRAVIS_PULL_REQUEST", no: []string{"false"}, about: pullRequest, source: "https://docs.travis-ci.com/user/environment-variables/"},

	{name: "BUILDKITE_PULL_REQUEST", no: []string{"false"}, about: pullRequest, source: "https://buildkite.com/docs/pipelines/configure/environment-variables"},

	{name: "DRONE_BUILD_EVENT", words: []string{"pull_request"}, about: pullRequest, source: "https://docs.drone.io/pipeline/environment/reference/drone-build-event/"},
	{name: "DRONE_PULL_REQUEST", about: pullRequest, source: "https://docs.drone.io/pipeline/environment/reference/drone-pull-request/"},

	{name: "CI_PIPELINE_EVENT", prefix: "pull_request", about: pullRequest, source: woodpecker},
	{name: "CI_BUILD_EVENT", prefix: "pull_request", about: pullRequest, source: "https://woodpecker-ci.org/docs/0.15/usage/environment"},
	{name: "CI_COMMIT_PULL_REQUEST", about: pullRequest, source: woodpecker},

	{name: "APPVEYOR_PULL_REQUEST_NUMBER", about: pullRequest, source: "https://www.appveyor.com/docs/environment-variables/"},

	{name: "CIRRUS_PR", about: pullRequest, source: "https://cirrus-ci.org/guide/writing-tasks/"},

	{name: "SEMAPHORE_GIT_REF_TYPE", words: []string{"pull-request"}, about: pullRequest, source: "https://docs.semaphoreci.com/reference/env-vars"},

	{name: "CODEBUILD_WEBHOOK_TRIGGER", prefix: "pr/", about: pullRequest, source: "https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html"},
	// Set as well if a build was started by hand or by the API.
	{name: "CODEBUILD_SOURCE_VERSION", prefix: "pr/", about: pullRequest, source: "https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html"},
	{name: "CODEBUILD_SOURCE_VERSION", prefix: "refs/pull/", about: pullRequest, source: "https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html"},
}

// Untrusted returns the reason why somebody who must not control the job may have
// written the files of its checkout, as a clause for a message. It returns "" if
// the environment gives no such reason.
func Untrusted(env Env) string {
	for _, s := range signs {
		if found := s.in(env); found != "" {
			return fmt.Sprintf("this job %s (%s)", s.about, found)
		}
	}
	return untrustedDispatch(env)
}

// in returns how the environment has the sign, or "" if it does not. It repeats
// only values that are words of the CI system, since others are a stranger's text.
func (s sign) in(env Env) string {
	value := env[s.name]
	switch {
	case value == "" || s.unless != "" && env[s.unless] != "":
	case len(s.words) > 0:
		if slices.Contains(s.words, value) {
			return s.name + "=" + value
		}
	case s.prefix != "":
		if strings.HasPrefix(value, s.prefix) {
			return s.name + " starts with " + s.prefix
		}
	case !slices.Contains(s.no, value):
		return s.name + " is set"
	}
	return ""
}

// maxEvent limits the event that is read. GitHub's largest payload has 25 MB; that
// of a dispatch has ten keys of its own, at most.
const maxEvent = 4 << 20

// untrustedDispatch returns the reason why a repository_dispatch may be for a pull
// request. A bot that obeys comments, for example, sends the pull request along:
// https://github.com/peter-evans/slash-command-dispatch.
func untrustedDispatch(env Env) string {
	if env["GITHUB_EVENT_NAME"] != "repository_dispatch" {
		return ""
	}
	file, err := os.Open(env["GITHUB_EVENT_PATH"])
	if err != nil {
		return "this job is for a repository_dispatch, and its event can't be read (GITHUB_EVENT_PATH)"
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxEvent))
	var event struct {
		Payload any `json:"client_payload"`
	}
	if err != nil || json.Unmarshal(data, &event) != nil {
		return "this job is for a repository_dispatch, and its event can't be read (GITHUB_EVENT_PATH)"
	}
	if namesPullRequest(event.Payload) {
		return "this job is for a repository_dispatch with a pull request (client_payload)"
	}
	return ""
}

// namesPullRequest reports whether a JSON value has a key for a pull request, or a
// text with a pull request's ref or URL.
func namesPullRequest(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, "pull/")
	case []any:
		return slices.ContainsFunc(v, namesPullRequest)
	case map[string]any:
		for key, value := range v {
			key = strings.ToLower(key)
			if value != nil && (strings.HasPrefix(key, "pull_request") || key == "pr" || strings.HasPrefix(key, "pr_")) || namesPullRequest(value) {
				return true
			}
		}
	}
	return false
}
