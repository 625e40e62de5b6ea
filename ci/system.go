package ci

import (
	"path/filepath"
	"strings"
)

const githubActions = "GITHUB_ACTIONS"

// system is a CI system.
type system struct {
	name     string
	set      string // a variable that it sets in every job
	checkout string // the variable with the directory of the checkout, "" if it has none
}

// systems lists the known CI systems, each with the documentation of its variables.
var systems = []system{
	{"GitHub Actions", githubActions, "GITHUB_WORKSPACE"},                    // docs.github.com: variables; Gitea and Forgejo set them, too
	{"GitLab", "GITLAB_CI", "CI_PROJECT_DIR"},                                // docs.gitlab.com: predefined CI/CD variables
	{"Jenkins", "JENKINS_URL", "WORKSPACE"},                                  // jenkins.io: using environment variables
	{"Azure Pipelines", "TF_BUILD", "BUILD_SOURCESDIRECTORY"},                // learn.microsoft.com: predefined variables
	{"Bitbucket Pipelines", "BITBUCKET_BUILD_NUMBER", "BITBUCKET_CLONE_DIR"}, // support.atlassian.com: variables and secrets
	{"CircleCI", "CIRCLECI", "CIRCLE_WORKING_DIRECTORY"},                     // circleci.com: built-in environment variables; may start with ~
	{"Travis CI", "TRAVIS", "TRAVIS_BUILD_DIR"},                              // docs.travis-ci.com: environment variables
	{"Buildkite", "BUILDKITE", "BUILDKITE_BUILD_CHECKOUT_PATH"},              // buildkite.com: environment variables
	{"Drone", "DRONE", "DRONE_WORKSPACE"},                                    // docs.drone.io: environment reference
	{"Woodpecker", "CI_WORKSPACE", "CI_WORKSPACE"},                           // woodpecker-ci.org: environment variables
	{"AppVeyor", "APPVEYOR", "APPVEYOR_BUILD_FOLDER"},                        // appveyor.com: environment variables
	{"Cirrus CI", "CIRRUS_CI", "CIRRUS_WORKING_DIR"},                         // cirrus-ci.org: environment variables
	{"CodeBuild", "CODEBUILD_BUILD_ID", "CODEBUILD_SRC_DIR"},                 // docs.aws.amazon.com: environment variables in build environments
	{"TeamCity", "TEAMCITY_VERSION", ""},                                     // jetbrains.com: predefined build parameters
	{"a CI system", "CI", ""},                                                // most of the others
}

// running returns the CI system that runs the program, and whether there is one.
func running(env Env) (system, bool) {
	for _, s := range systems {
		switch strings.ToLower(env[s.set]) {
		case "", "false", "0":
		default:
			return s, true
		}
	}
	return system{}, false
}

// Running reports whether a CI system runs the program.
func Running(env Env) bool {
	_, ok := running(env)
	return ok
}

// Checkout returns the directory of the job's checkout, or "" if no variable names
// it.
func Checkout(env Env) string {
	s, _ := running(env)
	dir := env[s.checkout]
	if rest, ok := strings.CutPrefix(dir, "~"); ok {
		dir = filepath.Join(env["HOME"], rest)
	}
	return dir
}
