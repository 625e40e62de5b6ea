package ci

// Untrusted returns the reason why somebody who must not control the job may have
// written the files of its checkout, as a clause for a message. It returns "" if
// the environment gives no such reason.
func Untrusted(env Env) string {
	switch event := env["GITHUB_EVENT_NAME"]; event {
	case "pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment":
		return "this job is for a pull request (GITHUB_EVENT_NAME=" + event + ")"
	case "issue_comment": // anybody may comment, and such a job usually checks out the pull request
		return "this job is for a comment, which may be about a pull request (GITHUB_EVENT_NAME=" + event + ")"
	case "workflow_run": // has secrets that the first run lacks, and often uses files of that run
		return "this job follows another, which may be for a pull request (GITHUB_EVENT_NAME=" + event + ")"
	}
	switch source := env["CI_PIPELINE_SOURCE"]; {
	case source == "merge_request_event", source == "external_pull_request_event":
		return "this job is for a merge request (CI_PIPELINE_SOURCE=" + source + ")"
	case env["CI_MERGE_REQUEST_IID"] != "", env["CI_EXTERNAL_PULL_REQUEST_IID"] != "": // in a child pipeline, CI_PIPELINE_SOURCE is parent_pipeline
		return "this job is for a merge request (CI_MERGE_REQUEST_IID or CI_EXTERNAL_PULL_REQUEST_IID is set)"
	case env["CHANGE_ID"] != "": // set by multibranch jobs of Jenkins
		return "this job is for a change request (CHANGE_ID is set)"
	}
	return ""
}
