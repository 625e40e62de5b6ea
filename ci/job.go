package ci

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Job describes the current job, from the CI system's variables.
type Job struct {
	// System is the name of the CI system, or "" for GitHub Actions or none.
	System string
	// Container is the ID of the container in which the job's steps run.
	Container string
	// Services holds the names of the job's service containers by ID.
	Services map[string]string
}

// ReadJob returns the Job that the environment describes.
func ReadJob(env Env) Job {
	s, _ := running(env)
	if s.set == githubActions {
		return Job{}
	}
	return Job{System: s.name}
}

// ReadActionJob returns the Job that the action's inputs job-container and
// job-services describe. The action sets them from GitHub's job context. If it
// returns an error, the rest of the Job is valid.
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

// RunnerTemp returns the path on the runner of its directory for temporary files,
// which the action's input runner-temp holds. In the action's container the
// directory has another path. The input is JSON because the runner replaces its own
// paths at the start of a variable by those in the container
// (ContainerInfo.TranslateToContainerPath of actions/runner).
func RunnerTemp(env Env) (string, error) {
	var path string
	if err := json.Unmarshal([]byte(Input(env, "runner-temp")), &path); err != nil || path == "" {
		return "", errors.New("input runner-temp: want the JSON of GitHub's runner.temp")
	}
	return path, nil
}
