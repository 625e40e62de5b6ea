package lease

import "strings"

// Environment returns the variables of env that a keeper has: those by which CI
// systems find the processes of a job that has ended, and no others.
//
// Sources: JobExtension.cs of actions/runner, ProcessTree.java and
// Run.getCharacteristicEnvVars of jenkinsci/jenkins, and
// BourneShellScript.java of jenkinsci/durable-task-plugin.
func Environment(env []string) []string {
	markers := []string{"RUNNER_TRACKING_ID", "VSTS_PROCESS_LOOKUP_ID", "JENKINS_NODE_COOKIE"}
	freestyle := []string{"JENKINS_SERVER_COOKIE", "HUDSON_SERVER_COOKIE", "JOB_NAME", "JOB_BASE_NAME", "BUILD_NUMBER", "BUILD_ID", "BUILD_TAG"}
	values := map[string]string{}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		values[name] = value
	}
	// An aborted step of a pipeline kills by this cookie.
	if cookie, set := values["JENKINS_SERVER_COOKIE"]; set && !strings.HasPrefix(cookie, "durable-") {
		markers = append(markers, freestyle...)
	}
	kept := []string{}
	for _, name := range markers {
		if value, set := values[name]; set {
			kept = append(kept, name+"="+value)
		}
	}
	return kept
}
