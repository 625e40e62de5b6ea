package ci

// Untrusted is why what the job reads from its checkout may come from somebody
// who has no say in what the job does: a clause for people. It is empty if
// nothing tells of that.
func Untrusted(env Env) string {
	switch event := env["GITHUB_EVENT_NAME"]; event {
	case "pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment":
		return "this job is for a pull request (GITHUB_EVENT_NAME=" + event + ")"
	case "issue_comment": // anybody's, and what such jobs check out is mostly the pull request that it is about
		return "this job is for a comment, which may be about a pull request (GITHUB_EVENT_NAME=" + event + ")"
	case "workflow_run": // with the secrets that the first run was not given, and often with its files
		return "this job follows another, which may be for a pull request (GITHUB_EVENT_NAME=" + event + ")"
	}
	switch source := env["CI_PIPELINE_SOURCE"]; {
	case source == "merge_request_event", source == "external_pull_request_event":
		return "this job is for a merge request (CI_PIPELINE_SOURCE=" + source + ")"
	case env["CI_MERGE_REQUEST_IID"] != "", env["CI_EXTERNAL_PULL_REQUEST_IID"] != "": // a child pipeline has a source of its own
		return "this job is for a merge request (CI_MERGE_REQUEST_IID or CI_EXTERNAL_PULL_REQUEST_IID is set)"
	case env["CHANGE_ID"] != "": // Jenkins' multibranch jobs
		return "this job is for a change request (CHANGE_ID is set)"
	}
	return ""
}
