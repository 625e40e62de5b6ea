package ci

import (
	"path/filepath"
	"testing"
)

func TestCheckout(t *testing.T) {
	for _, c := range []struct {
		env     Env
		dir     string
		running bool
	}{
		{Env{"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": "/w", "CI": "true"}, "/w", true},
		{Env{"GITLAB_CI": "true", "CI_PROJECT_DIR": "/w", "CI": "true"}, "/w", true},
		{Env{"JENKINS_URL": "http://jenkins/", "WORKSPACE": "/w"}, "/w", true},
		{Env{"TF_BUILD": "True", "BUILD_SOURCESDIRECTORY": "/w"}, "/w", true},
		{Env{"BITBUCKET_BUILD_NUMBER": "1", "BITBUCKET_CLONE_DIR": "/w"}, "/w", true},
		{Env{"CIRCLECI": "true", "CIRCLE_WORKING_DIRECTORY": "~/project", "HOME": "/root"}, filepath.FromSlash("/root/project"), true},
		{Env{"TRAVIS": "true", "TRAVIS_BUILD_DIR": "/w"}, "/w", true},
		{Env{"BUILDKITE": "true", "BUILDKITE_BUILD_CHECKOUT_PATH": "/w"}, "/w", true},
		{Env{"DRONE": "true", "DRONE_WORKSPACE": "/w"}, "/w", true},
		{Env{"CI": "woodpecker", "CI_WORKSPACE": "/w"}, "/w", true},
		{Env{"APPVEYOR": "True", "APPVEYOR_BUILD_FOLDER": "/w"}, "/w", true},
		{Env{"CIRRUS_CI": "true", "CIRRUS_WORKING_DIR": "/w"}, "/w", true},
		{Env{"CODEBUILD_BUILD_ID": "x:1", "CODEBUILD_SRC_DIR": "/w"}, "/w", true},
		{Env{"TEAMCITY_VERSION": "2026.1"}, "", true},
		{Env{"CI": "1"}, "", true},
		{Env{"CI": "false"}, "", false},
		{Env{"WORKSPACE": "/w", "GITHUB_WORKSPACE": "/w", "CI_PROJECT_DIR": "/w"}, "", false},
		{nil, "", false},
	} {
		if dir, running := Checkout(c.env), Running(c.env); dir != c.dir || running != c.running {
			t.Errorf("%v: got %q, %t, want %q, %t", c.env, dir, running, c.dir, c.running)
		}
	}
}
