package ci

import (
	"path/filepath"
	"strings"
)

// systems lists CI systems: a variable that each sets in every job, and the one that
// names the directory of the checkout.
var systems = []struct{ set, checkout string }{
	{"GITHUB_ACTIONS", "GITHUB_WORKSPACE"},            // docs.github.com: variables; Gitea and Forgejo set them, too
	{"GITLAB_CI", "CI_PROJECT_DIR"},                   // docs.gitlab.com: predefined CI/CD variables
	{"JENKINS_URL", "WORKSPACE"},                      // jenkins.io: using environment variables
	{"TF_BUILD", "BUILD_SOURCESDIRECTORY"},            // learn.microsoft.com: predefined variables of Azure Pipelines
	{"BITBUCKET_BUILD_NUMBER", "BITBUCKET_CLONE_DIR"}, // support.atlassian.com: variables and secrets
	{"CIRCLECI", "CIRCLE_WORKING_DIRECTORY"},          // circleci.com: built-in environment variables; may start with ~
	{"TRAVIS", "TRAVIS_BUILD_DIR"},                    // docs.travis-ci.com: environment variables
	{"BUILDKITE", "BUILDKITE_BUILD_CHECKOUT_PATH"},    // buildkite.com: environment variables
	{"DRONE", "DRONE_WORKSPACE"},                      // docs.drone.io: environment reference
	{"CI_WORKSPACE", "CI_WORKSPACE"},                  // woodpecker-ci.org: environment variables
	{"APPVEYOR", "APPVEYOR_BUILD_FOLDER"},             // appveyor.com: environment variables
	{"CIRRUS_CI", "CIRRUS_WORKING_DIR"},               // cirrus-ci.org: environment variables
	{"CODEBUILD_BUILD_ID", "CODEBUILD_SRC_DIR"},       // docs.aws.amazon.com: environment variables in build environments
	{"TEAMCITY_VERSION", ""},                          // jetbrains.com: predefined build parameters
	{"CI", ""},                                        // most of the others
}

// Checkout returns the directory of the job's checkout, and whether a CI system runs
// the program. The directory is "" if no variable names it.
func Checkout(env Env) (dir string, running bool) {
	for _, s := range systems {
		switch strings.ToLower(env[s.set]) {
		case "", "false", "0":
			continue
		}
		dir = env[s.checkout]
		if rest, ok := strings.CutPrefix(dir, "~"); ok {
			dir = filepath.Join(env["HOME"], rest)
		}
		return dir, true
	}
	return "", false
}
