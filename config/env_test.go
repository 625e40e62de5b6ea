package config

import "testing"

func TestVariableOfANeed(t *testing.T) {
	for name, want := range map[string]string{
		"web": "WEB_PORT", "2nd.media": "P_2ND_MEDIA_PORT", "a-b_c.d": "A_B_C_D_PORT", "8080": "P_8080_PORT",
		"Web-1": "WEB_1_PORT", "é": "__PORT", "": "_PORT",
	} {
		if got := DefaultEnv(name); got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
		if got := (Port{Name: name}).Variable(); got != want {
			t.Errorf("%q: the need has %s, want %s", name, got, want)
		}
		if got := (Port{Name: name, Env: "OWN"}).Variable(); got != "OWN" {
			t.Errorf("%q: got %s, want the need's own variable", name, got)
		}
	}
}

func TestReservedEnv(t *testing.T) {
	for _, name := range []string{
		"PATH", "Path", "HOME", "IFS", "ENV", "BASH_ENV", "BASH_FUNC_x", "LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "PORTCHECK_JOB", "PORTCHECK_PORTS", "GITHUB_TOKEN", "GITHUB_ENV",
		"RUNNER_TEMP", "NODE_OPTIONS", "PYTHONPATH", "PERL5OPT", "RUBYOPT", "JAVA_TOOL_OPTIONS", "CI", "CI_JOB_ID", "INPUT_OFFSET", "LISTEN_FDS", "http_proxy", "GIT_DIR", "COMPOSE_FILE", "DOCKER_HOST", "UID", "MAKEFLAGS",
	} {
		if !ReservedEnv(name) {
			t.Errorf("%s is taken", name)
		}
	}
	for _, name := range []string{
		"PORT", "CI_PORT", "PYTHON_PORT", "LD_PORT", "GITHUB_PORT", "Web_Port", "PGPORT", "MYSQL_TCP_PORT", "MEDIA", "WEB", "CIRCLE", "HTTP", "PATHS", "APP", "GITEA", "NODE", "DOCS", "SHOP_ENV", "PYTHON",
	} {
		if ReservedEnv(name) {
			t.Errorf("%s is refused", name)
		}
	}
}
