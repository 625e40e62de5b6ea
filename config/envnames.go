package config

import (
	"slices"
	"strings"
)

// ReservedEnv reports whether a variable has a meaning for loaders, shells,
// interpreters, tools or CI systems, so that a port in it would change what they do.
// PORT and names that end in _PORT have none. Windows does not distinguish case.
func ReservedEnv(name string) bool {
	name = strings.ToUpper(name)
	if name == "PORT" || strings.HasSuffix(name, "_PORT") {
		return false
	}
	return slices.Contains(reservedEnv, name) || slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// reservedPrefixes are those of names that one system or tool has for itself.
var reservedPrefixes = []string{
	"LD_", "DYLD_", "GLIBC_", "MALLOC_", // loaders and C libraries: ld.so(8), dyld(1)
	"BASH_", "LC_", // shells and locales: bash(1), locale(7)
	"PORTCHECK_", "GITHUB_", "RUNNER_", "ACTIONS_", "INPUT_", "CI_", // this program, GitHub's runner, GitLab and Woodpecker
	"GIT_", "COMPOSE_", "DOCKER_", "NPM_CONFIG_", // tools that are configured by variables
}

var reservedEnv = []string{
	// POSIX.1-2024 chapter 8, sh(1), bash(1), and the system's libraries.
	"PATH", "HOME", "SHELL", "USER", "LOGNAME", "PWD", "OLDPWD", "TERM", "TMPDIR", "LANG", "LANGUAGE", "TZ", "IFS", "ENV", "CDPATH", "PPID",
	"PS1", "PS2", "PS3", "PS4", "LINENO", "OPTARG", "OPTIND", "OPTERR", "UID", "EUID", "GROUPS", "RANDOM", "SECONDS", "SHLVL", "SHELLOPTS", "BASHOPTS", "BASH",
	"GLOBIGNORE", "FIGNORE", "FPATH", "PROMPT_COMMAND", "POSIXLY_CORRECT", "ZDOTDIR", "LOCPATH", "NLSPATH", "GCONV_PATH", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS",
	"EDITOR", "VISUAL", "PAGER", "BROWSER", "DISPLAY", "SSH_AUTH_SOCK", "SSH_ASKPASS", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET",
	"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF", "KUBECONFIG",
	// Windows.
	"PATHEXT", "COMSPEC", "SYSTEMROOT", "WINDIR", "TEMP", "TMP", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PSMODULEPATH",
	// Interpreters, compilers and what builds with them.
	"NODE_OPTIONS", "NODE_PATH", "NODE_EXTRA_CA_CERTS", "NODE_ENV",
	"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONWARNINGS", "PYTHONHASHSEED", "PYTHONBREAKPOINT", "PYTHONINSPECT", "PYTHONIOENCODING", "PYTHONPLATLIBDIR", "VIRTUAL_ENV",
	"PERL5LIB", "PERL5OPT", "PERL5DB", "PERLLIB", "RUBYLIB", "RUBYOPT", "GEM_HOME", "GEM_PATH", "BUNDLE_GEMFILE", "LUA_PATH", "LUA_CPATH", "LUA_INIT", "PHPRC", "PHP_INI_SCAN_DIR",
	"JAVA_HOME", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH", "MAVEN_OPTS", "GRADLE_OPTS",
	"GOPATH", "GOROOT", "GOFLAGS", "GODEBUG", "GOPROXY", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "CARGO_HOME", "RUSTFLAGS",
	"CC", "CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS", "MAKEFLAGS", "MAKEFILES", "MAKELEVEL",
	// CI systems: what their jobs, and programs that ask which system it is, read.
	"CI", "GITLAB_CI", "TF_BUILD", "JENKINS_URL", "JENKINS_NODE_COOKIE", "BUILD_ID", "BUILD_TAG", "BUILD_NUMBER", "JOB_NAME", "NODE_NAME", "EXECUTOR_NUMBER", "WORKSPACE",
	"BUILDKITE", "CIRCLECI", "TRAVIS", "DRONE", "APPVEYOR", "CIRRUS_CI", "TEAMCITY_VERSION",
}
