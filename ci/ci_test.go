package ci

import "testing"

func TestEnv(t *testing.T) {
	env := NewEnv([]string{"GITHUB_ACTIONS=true", "GITHUB_WORKSPACE=/work=space", "EMPTY=", "junk"})
	if !GitHub(env) || Workspace(env) != "/work=space" {
		t.Errorf("%v", env)
	}
	if _, ok := env["junk"]; ok {
		t.Error("an entry without = became a variable")
	}
	for _, env := range []Env{nil, NewEnv([]string{"GITHUB_ACTIONS=false"}), NewEnv([]string{"GITHUB_ACTIONS=1"})} {
		if GitHub(env) || Workspace(env) != "" {
			t.Errorf("not on GitHub: %v", env)
		}
	}
}
