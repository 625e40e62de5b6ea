package ci

import (
	"strings"
	"testing"
)

func TestUntrusted(t *testing.T) {
	for _, c := range []struct {
		env  Env
		want string // a part of the reason; empty: none
	}{
		{nil, ""},
		{Env{"GITHUB_EVENT_NAME": "push"}, ""},
		{Env{"GITHUB_EVENT_NAME": "merge_group"}, ""}, // queued by somebody who may merge
		{Env{"GITHUB_EVENT_NAME": "schedule"}, ""},
		{Env{"GITHUB_EVENT_NAME": "workflow_dispatch"}, ""},
		{Env{"GITHUB_EVENT_NAME": "pull_request"}, "for a pull request (GITHUB_EVENT_NAME=pull_request)"},
		{Env{"GITHUB_EVENT_NAME": "pull_request_target"}, "GITHUB_EVENT_NAME=pull_request_target"},
		{Env{"GITHUB_EVENT_NAME": "pull_request_review"}, "GITHUB_EVENT_NAME=pull_request_review"},
		{Env{"GITHUB_EVENT_NAME": "pull_request_review_comment"}, "GITHUB_EVENT_NAME=pull_request_review_comment"},
		{Env{"GITHUB_EVENT_NAME": "issue_comment"}, "for a comment"},
		{Env{"GITHUB_EVENT_NAME": "workflow_run"}, "follows another"},
		{Env{"CI_PIPELINE_SOURCE": "push"}, ""},
		{Env{"CI_PIPELINE_SOURCE": "merge_request_event"}, "for a merge request (CI_PIPELINE_SOURCE=merge_request_event)"},
		{Env{"CI_PIPELINE_SOURCE": "external_pull_request_event"}, "CI_PIPELINE_SOURCE=external_pull_request_event"},
		{Env{"CI_PIPELINE_SOURCE": "parent_pipeline"}, ""},
		{Env{"CI_PIPELINE_SOURCE": "parent_pipeline", "CI_MERGE_REQUEST_IID": "7"}, "CI_MERGE_REQUEST_IID"},
		{Env{"CI_PIPELINE_SOURCE": "parent_pipeline", "CI_EXTERNAL_PULL_REQUEST_IID": "7"}, "CI_EXTERNAL_PULL_REQUEST_IID"},
		{Env{"BRANCH_NAME": "main", "CHANGE_ID": ""}, ""},
		{Env{"BRANCH_NAME": "PR-7", "CHANGE_ID": "7"}, "for a change request (CHANGE_ID is set)"},
	} {
		got := Untrusted(c.env)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, want %q", c.env, got, c.want)
		}
	}
}
