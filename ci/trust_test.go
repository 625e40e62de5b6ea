package ci

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestUntrusted(t *testing.T) {
	for _, c := range []struct {
		env  Env
		want string // a part of the reason; empty: none
	}{
		{nil, ""},
		{Env{"": "C:"}, ""}, // Windows has such entries

		{Env{"GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/heads/main", "GITHUB_HEAD_REF": ""}, ""},
		{Env{"GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/tags/refs/pull/7"}, ""},
		{Env{"GITHUB_EVENT_NAME": "schedule"}, ""},
		{Env{"GITHUB_EVENT_NAME": "release"}, ""},
		{Env{"GITHUB_EVENT_NAME": "workflow_dispatch"}, ""},
		{Env{"GITHUB_EVENT_NAME": "workflow_call"}, ""},
		{Env{"GITHUB_EVENT_NAME": "deployment", "GITHUB_REF": "refs/heads/main"}, ""},
		{Env{"GITHUB_EVENT_NAME": "pull_request"}, "is for a pull request (GITHUB_EVENT_NAME=pull_request)"},
		{Env{"GITHUB_EVENT_NAME": "pull_request_target"}, "GITHUB_EVENT_NAME=pull_request_target"},
		{Env{"GITHUB_EVENT_NAME": "pull_request_review"}, "GITHUB_EVENT_NAME=pull_request_review"},
		{Env{"GITHUB_EVENT_NAME": "pull_request_review_comment"}, "GITHUB_EVENT_NAME=pull_request_review_comment"},
		{Env{"GITHUB_EVENT_NAME": "pull_request_sync"}, "GITHUB_EVENT_NAME starts with pull_request"},
		{Env{"GITHUB_EVENT_NAME": "issue_comment"}, "is for a comment"},
		{Env{"GITHUB_EVENT_NAME": "merge_group"}, "is for a merge queue"},
		{Env{"GITHUB_EVENT_NAME": "workflow_run"}, "follows another"},
		{Env{"GITHUB_EVENT_NAME": "check_suite"}, "follows another"},
		{Env{"GITHUB_EVENT_NAME": "check_run"}, "follows another"},
		{Env{"GITHUB_EVENT_NAME": "status"}, "follows another"},
		{Env{"GITHUB_EVENT_NAME": "deployment", "GITHUB_REF": ""}, "GITHUB_EVENT_NAME=deployment"},
		{Env{"GITHUB_EVENT_NAME": "deployment_status"}, "GITHUB_EVENT_NAME=deployment_status"},
		{Env{"GITHUB_EVENT_NAME": "deployment", "GITHUB_REF": "refs/pull/7/head"}, "GITHUB_REF starts with refs/pull/"},
		{Env{"GITHUB_EVENT_NAME": "push", "GITHUB_HEAD_REF": "::error::\n"}, "(GITHUB_HEAD_REF is set)"},
		{Env{"GITHUB_EVENT_NAME": "workflow_dispatch", "GITHUB_REF": "refs/pull/7/merge"}, "(GITHUB_REF starts with refs/pull/)"},
		{Env{"GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/heads/gh-readonly-queue/main/pr-7-abc"}, "is for a merge queue"},

		{Env{"CI_PIPELINE_SOURCE": "push"}, ""},
		{Env{"CI_PIPELINE_SOURCE": "schedule"}, ""},
		{Env{"CI_PIPELINE_SOURCE": "parent_pipeline"}, ""},
		{Env{"CI_PIPELINE_SOURCE": "merge_request_event"}, "is for a merge request (CI_PIPELINE_SOURCE=merge_request_event)"},
		{Env{"CI_PIPELINE_SOURCE": "external_pull_request_event"}, "CI_PIPELINE_SOURCE=external_pull_request_event"},
		{Env{"CI_PIPELINE_SOURCE": "parent_pipeline", "CI_MERGE_REQUEST_IID": "7"}, "CI_MERGE_REQUEST_IID is set"},
		{Env{"CI_PIPELINE_SOURCE": "parent_pipeline", "CI_EXTERNAL_PULL_REQUEST_IID": "7"}, "CI_EXTERNAL_PULL_REQUEST_IID is set"},

		{Env{"BRANCH_NAME": "main", "CHANGE_ID": ""}, ""},
		{Env{"BRANCH_NAME": "PR-7", "CHANGE_ID": "7"}, "is for a change request (CHANGE_ID is set)"},
		{Env{"ghprbPullId": "7"}, "ghprbPullId is set"},
		{Env{"gitlabActionType": "PUSH", "gitlabMergeRequestIid": ""}, ""}, // the plugin sets it to nothing
		{Env{"gitlabActionType": "MERGE", "gitlabMergeRequestIid": "7"}, "is for a merge request (gitlabMergeRequestIid is set)"},
		{Env{"BITBUCKET_PULL_REQUEST_ID": "7"}, "BITBUCKET_PULL_REQUEST_ID is set"},
		{Env{"GERRIT_EVENT_TYPE": "change-merged"}, ""},
		{Env{"GERRIT_EVENT_TYPE": "ref-updated"}, ""},
		{Env{"GERRIT_EVENT_TYPE": "patchset-created"}, "is for a change request (GERRIT_EVENT_TYPE is set)"},

		{Env{"BUILD_REASON": "IndividualCI", "BUILD_SOURCEBRANCH": "refs/heads/main"}, ""},
		{Env{"BUILD_REASON": "Schedule"}, ""},
		{Env{"BUILD_REASON": "PullRequest"}, "BUILD_REASON=PullRequest"},
		{Env{"BUILD_REASON": "Manual", "SYSTEM_PULLREQUEST_PULLREQUESTID": "7"}, "SYSTEM_PULLREQUEST_PULLREQUESTID is set"},
		{Env{"BUILD_REASON": "Manual", "BUILD_SOURCEBRANCH": "refs/pull/7/merge"}, "BUILD_SOURCEBRANCH starts with refs/pull/"},

		{Env{"BITBUCKET_BRANCH": "main"}, ""},
		{Env{"BITBUCKET_PR_ID": "7"}, "BITBUCKET_PR_ID is set"},

		{Env{"CIRCLE_BRANCH": "main"}, ""},
		{Env{"CIRCLE_TAG": "v1"}, ""},
		{Env{"CIRCLE_BRANCH": "mine", "CIRCLE_PULL_REQUEST": "https://github.com/o/r/pull/7"}, "CIRCLE_PULL_REQUEST is set"},
		{Env{"CIRCLE_PR_NUMBER": "7"}, "CIRCLE_PR_NUMBER is set"},
		{Env{"CIRCLE_BRANCH": "pull/7"}, "CIRCLE_BRANCH starts with pull/"},

		{Env{"TRAVIS_PULL_REQUEST": "false"}, ""},
		{Env{"TRAVIS_PULL_REQUEST": "7"}, "TRAVIS_PULL_REQUEST is set"},

		{Env{"BUILDKITE_PULL_REQUEST": "false"}, ""},
		{Env{"BUILDKITE_PULL_REQUEST": "7"}, "BUILDKITE_PULL_REQUEST is set"},

		{Env{"DRONE_BUILD_EVENT": "push", "DRONE_PULL_REQUEST": ""}, ""},
		{Env{"DRONE_BUILD_EVENT": "cron"}, ""},
		{Env{"DRONE_BUILD_EVENT": "tag"}, ""},
		{Env{"DRONE_BUILD_EVENT": "pull_request"}, "DRONE_BUILD_EVENT=pull_request"},
		{Env{"DRONE_BUILD_EVENT": "custom", "DRONE_PULL_REQUEST": "7"}, "DRONE_PULL_REQUEST is set"},

		{Env{"CI": "woodpecker", "CI_PIPELINE_EVENT": "push"}, ""},
		{Env{"CI": "woodpecker", "CI_PIPELINE_EVENT": "tag"}, ""},
		{Env{"CI": "woodpecker", "CI_PIPELINE_EVENT": "cron"}, ""},
		{Env{"CI_PIPELINE_EVENT": "pull_request"}, "CI_PIPELINE_EVENT starts with pull_request"},
		{Env{"CI_PIPELINE_EVENT": "pull_request_closed"}, "CI_PIPELINE_EVENT starts with pull_request"},
		{Env{"CI_BUILD_EVENT": "pull_request"}, "CI_BUILD_EVENT starts with pull_request"},
		{Env{"CI_COMMIT_PULL_REQUEST": "7"}, "CI_COMMIT_PULL_REQUEST is set"},

		{Env{"APPVEYOR_REPO_BRANCH": "main"}, ""},
		{Env{"APPVEYOR_PULL_REQUEST_NUMBER": "7"}, "APPVEYOR_PULL_REQUEST_NUMBER is set"},

		{Env{"CIRRUS_BRANCH": "main"}, ""},
		{Env{"CIRRUS_PR": "7"}, "CIRRUS_PR is set"},

		{Env{"SEMAPHORE_GIT_REF_TYPE": "branch"}, ""},
		{Env{"SEMAPHORE_GIT_REF_TYPE": "tag"}, ""},
		{Env{"SEMAPHORE_GIT_REF_TYPE": "pull-request"}, "SEMAPHORE_GIT_REF_TYPE=pull-request"},

		{Env{"CODEBUILD_WEBHOOK_TRIGGER": "branch/main"}, ""},
		{Env{"CODEBUILD_WEBHOOK_TRIGGER": "tag/v1"}, ""},
		{Env{"CODEBUILD_WEBHOOK_TRIGGER": "pr/7"}, "CODEBUILD_WEBHOOK_TRIGGER starts with pr/"},
	} {
		got := Untrusted(c.env)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, want %q", c.env, got, c.want)
		}
	}
}

// TestEverySignIsDocumented checks that each sign names its source, and that the
// table of jobs in docs/action.md has its variable.
func TestEverySignIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/action.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Who may choose the hosts\n")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, s := range signs {
		if !strings.HasPrefix(s.source, "https://") {
			t.Errorf("%s has no source", s.name)
		}
		if !strings.Contains(table, "`"+s.name+"`") {
			t.Errorf("docs/action.md does not name %s", s.name)
		}
		for _, word := range append(slices.Clone(s.words), s.prefix) {
			if word != "" && !strings.Contains(table, "`"+word) {
				t.Errorf("docs/action.md does not name %s of %s", word, s.name)
			}
		}
	}
}

func TestUntrustedDispatch(t *testing.T) {
	const untrusted = "is for a repository_dispatch with a pull request"
	for text, want := range map[string]string{
		`{}`:                       "",
		`{"client_payload": null}`: "",
		`{"client_payload": {"ref": "refs/heads/main", "pull_request": null, "pulls_url": "https://api.github.com/repos/o/r/pulls{/number}"}}`: "",
		`{"pull_request": 7, "client_payload": {"version": "1.2"}}`:                                                                            "", // not in a payload of somebody else
		`{"client_payload": {"preview": true, "priority": 1}}`:                                                                                 "",
		`{"client_payload": {"pull_request": {"number": 7}}}`:                                                                                  untrusted,
		`{"client_payload": {"pull_request_number": 7}}`:                                                                                       untrusted,
		`{"client_payload": {"PR": 7}}`:                                                                                                        untrusted,
		`{"client_payload": {"pr_number": "7"}}`:                                                                                               untrusted,
		`{"client_payload": {"ref": "refs/pull/7/head"}}`:                                                                                      untrusted,
		`{"client_payload": {"refs": ["main", "pull/7/merge"]}}`:                                                                               untrusted,
		`{"client_payload": {"github": {"payload": {"issue": {"html_url": "https://github.com/o/r/pull/7"}}}}}`:                                untrusted,
		`{"client_payload": {"github": {"payload": {"issue": {"html_url": "https://github.com/o/r/issues/7"}}}}}`:                              "",
		`{"client_payload": {`: "its event can't be read",
		`{"client_payload": {"padding": "` + strings.Repeat("x", maxEvent) + `"}}`: "its event can't be read",
	} {
		file := filepath.Join(t.TempDir(), "event.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := Untrusted(Env{"GITHUB_EVENT_NAME": "repository_dispatch", "GITHUB_EVENT_PATH": file})
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%.120s: %q, want %q", text, got, want)
		}
	}
	for _, path := range []string{"", t.TempDir(), "/nowhere/event.json"} {
		if got := Untrusted(Env{"GITHUB_EVENT_NAME": "repository_dispatch", "GITHUB_EVENT_PATH": path}); !strings.Contains(got, "its event can't be read") {
			t.Errorf("%q: %q", path, got)
		}
	}
}
