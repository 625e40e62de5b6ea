package ci

import (
	"encoding/json"
	"fmt"
)

// Job is what a CI system says of the job around us.
type Job struct {
	// System is the name of the CI system, if one runs us that is not GitHub
	// Actions; empty for none.
	System string
	// Container is the ID of the container in which the job's steps run.
	Container string
	// Services are the containers that the job has started beside it: ID -> name.
	Services map[string]string
}

// ReadJob reads the environment of a job.
func ReadJob(env Env) Job {
	switch {
	case GitHub(env):
	case env["GITLAB_CI"] != "":
		return Job{System: "GitLab"}
	case env["JENKINS_URL"] != "":
		return Job{System: "Jenkins"}
	case env["CI"] == "true":
		return Job{System: "a CI system"}
	}
	return Job{}
}

// ReadActionJob reads what the action's inputs job-container and job-services
// have from GitHub's job context. An error tells what could not be read; the
// rest is right.
func ReadActionJob(env Env) (Job, error) {
	job := Job{Container: Input(env, "job-container"), Services: map[string]string{}}
	text := Input(env, "job-services")
	if text == "" || text == "null" {
		return job, nil
	}
	var services map[string]struct{ ID string }
	if err := json.Unmarshal([]byte(text), &services); err != nil {
		return job, fmt.Errorf("input job-services: want the JSON of GitHub's job.services: %w", err)
	}
	for name, s := range services {
		if s.ID != "" {
			job.Services[s.ID] = name
		}
	}
	return job, nil
}
