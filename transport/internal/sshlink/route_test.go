package sshlink

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/portcheck/config"
)

// home creates a home directory with files below .ssh.
func home(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, ".ssh", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func route(t *testing.T, dir, target string) ([]hop, error) {
	t.Helper()
	return New(Options{Env: map[string]string{"HOME": dir, "USER": "me"}}).route(t.Context(), address(t, target))
}

// describeRoute returns a route as user@host:port, one after the other.
func describeRoute(hops []hop) string {
	var all []string
	for _, h := range hops {
		all = append(all, h.user+"@"+h.address())
	}
	return strings.Join(all, " ")
}

func TestRoutes(t *testing.T) {
	dir := home(t, map[string]string{
		"config": `
Include conf.d/*.conf missing
Host=app1 app1-*   # two
	HostName 192.0.2.1
	User "deploy"
	Port 2201
Host tail
	Include tail
	User kept
Host !web-3 web-*
	HostName %h.example
	User web
Host six
	HostName 2001:db8::1
Match final host matched,other
	User matched
Host a
	ProxyJump jumper@b:2222,ssh://c
Host b
	ProxyJump d
Host c
	ProxyJump ignored
Host direct
	ProxyJump none
	ProxyCommand none
Match all
	Port 2200
`,
		"conf.d/1.conf": "Host included\n\tHostName 192.0.2.9",
		"conf.d/2.conf": "Host included\n\tHostName 192.0.2.10\n\tUser second\n",
		"tail":          "Port 99\nHost other\n\tUser nobody\n",
	})
	for target, want := range map[string]string{
		"ssh://app1":        "deploy@192.0.2.1:2201",
		"ssh://root@app1:1": "root@192.0.2.1:1",
		"ssh://app1-x":      "deploy@192.0.2.1:2201",
		"ssh://web-1":       "web@web-1.example:2200",
		"ssh://web-3":       "me@web-3:2200",
		"ssh://six":         "me@[2001:db8::1]:2200",
		"ssh://matched":     "matched@matched:2200",
		"ssh://other":       "matched@other:2200", // the file that is included only for tail does not count
		"ssh://included":    "second@192.0.2.9:2200",
		"ssh://tail":        "kept@tail:99",
		"ssh://a":           "me@d:2200 jumper@b:2222 me@c:2200 me@a:2200",
		"ssh://direct":      "me@direct:2200",
		"ssh://[::1]:7":     "me@[::1]:7",
	} {
		hops, err := route(t, dir, target)
		if err != nil || describeRoute(hops) != want {
			t.Errorf("%s: %s, %v; want %s", target, describeRoute(hops), err, want)
		}
	}
}

func TestFilesOfAHost(t *testing.T) {
	dir := home(t, map[string]string{"config": `
Host app1
	IdentityFile ~/.ssh/%n_key
	IdentityFile %d/other
	IdentityFile "/a b/100%%"
	CertificateFile ~/.ssh/%r@%h:%p-%u-cert.pub
	UserKnownHostsFile /known1 ~/known2
	GlobalKnownHostsFile /dev/null
	IdentitiesOnly yes
	HostKeyAlias Apps
	HostName app1.example
`})
	hops, err := route(t, dir, "ssh://app1")
	if err != nil {
		t.Fatal(err)
	}
	h := hops[0]
	for _, c := range []struct {
		what      string
		got, want []string
	}{
		{"identities", h.identities, []string{dir + "/.ssh/app1_key", dir + "/other", "/a b/100%"}},
		{"certificates", h.certificates, []string{dir + "/.ssh/me@app1.example:22-me-cert.pub"}},
		{"known hosts", h.userKnownHosts, []string{"/known1", dir + "/known2"}},
		{"global known hosts", h.globalKnownHosts, []string{"/dev/null"}},
		{"name in known_hosts", []string{h.keyName}, []string{"apps:22"}},
		{"identities only", []string{fmt.Sprint(h.identitiesOnly)}, []string{"true"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: %q; want %q", c.what, c.got, c.want)
		}
	}
}

func TestConfigsThatCantBeUsed(t *testing.T) {
	for text, want := range map[string]string{
		"Host *\n\tProxyCommand nc %h %p\n": "config: app1: ProxyCommand is not supported: use ProxyJump",
		"ProxyUseFdpass yes\n":              "config: app1: ProxyUseFdpass is not supported: use ProxyJump",
		"\nMatch exec \"true\"\n":           "config: HOME/.ssh/config:2: unsupported Match exec true: use Match all, or Match host PATTERNS alone",
		"Match foo\n":                       "config: HOME/.ssh/config:1: unsupported Match foo: use Match all, or Match host PATTERNS alone",
		"Match final foo\n":                 "config: HOME/.ssh/config:1: unsupported Match final foo",
		"Match host\n":                      "config: HOME/.ssh/config:1: unsupported Match host",
		"Match all foo\n":                   "config: HOME/.ssh/config:1: unsupported Match all foo",
		"Match user root\n":                 "config: HOME/.ssh/config:1: unsupported Match user root",
		"Match host app1 all\n":             "config: HOME/.ssh/config:1: unsupported Match host app1 all",
		"Match\n":                           "config: HOME/.ssh/config:1: Match has no value",
		"User =\n":                          "config: HOME/.ssh/config:1: user has no value",
		"User # a comment\n":                "config: HOME/.ssh/config:1: user has no value",
		"User \"a b\n":                      "config: HOME/.ssh/config:1: the value of user has an unclosed quote",
		"HostName %x\n":                     "config: app1: HostName: the token %x is not supported",
		"HostName a%\n":                     "config: app1: HostName: \"a%\" ends with %: write %%",
		"Port x\n":                          "config: app1: the port must be 1 to 65535",
		"CertificateFile a%\n":              "config: app1: CertificateFile: ",
		"UserKnownHostsFile %x":             "config: app1: UserKnownHostsFile: the token %x",
		"GlobalKnownHostsFile %x":           "config: app1: GlobalKnownHostsFile: the token %x",
		"ProxyJump a,\n":                    "config: app1: ProxyJump: ",
		"Include inner\nHost *":             "config: read HOME/.ssh/inner: is a directory",
		"Include config\n":                  "config: HOME/.ssh/config: Include is nested more than 16 deep",
		"HostName -oX\n":                    "config: app1: HostName: the host must have",
		"HostName a/b\n":                    "config: app1: HostName: the host must have",
		"Port 0\n":                          "config: app1: the port must be 1 to 65535",
		"ProxyJump a b\n":                   "config: app1: ProxyJump: the host must have",
		"ProxyJump u:canary@a\n":            "config: app1: ProxyJump: a password",
		"Host *\n\tProxyJump jump\n":        "config: the ProxyJump of app1 has more than 8 hosts, or is circular",
		"ProxyJump a,b,c,d,e,f,g,h,i\n":     "config: the ProxyJump of app1 has more than 8 hosts, or is circular",
		"HostKeyAlias a,b\n":                "config: app1: HostKeyAlias a,b is not a host name",
		"IdentityFile ~/%C\n":               "config: app1: IdentityFile: the token %C is not supported",
		"Host app1\n\tUser a\nHost [\nInclude [\nHost x": "config: can't include HOME/.ssh/[: syntax error in pattern",
	} {
		dir := home(t, map[string]string{"config": text, "inner/x": ""})
		_, err := route(t, dir, "ssh://app1")
		if err == nil || !strings.HasPrefix(strings.ReplaceAll(err.Error(), dir, "HOME"), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
	if _, err := route(t, "", "ssh://app1"); err != nil {
		t.Errorf("without a home: %v", err)
	}
}

// address parses the text of a target.
func address(t *testing.T, target string) config.SSHAddress {
	t.Helper()
	parsed, err := config.ParseTarget(target)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.SSH
}

// A block of "Match final" or "Match all" applies to every host. One of "Match host"
// applies only to hosts that match.
func TestMatch(t *testing.T) {
	for criteria, want := range map[string]string{
		"all": "matched", "final": "matched", "Final All": "matched", "host app1": "matched", "originalhost app?": "matched", "final host x,app1": "matched",
		"Host *,!app1": "me", "host app2": "me", "host !app2": "me", "originalhost app": "me",
	} {
		hops, err := route(t, home(t, map[string]string{"config": "Match " + criteria + "\n\tUser matched\n"}), "ssh://app1")
		if err != nil || hops[0].user != want {
			t.Errorf("Match %s: %v, %v; want %s", criteria, hops, err, want)
		}
	}
}

// Files may include each other as deep as OpenSSH allows.
func TestIncludeDepth(t *testing.T) {
	for depth, want := range map[int]string{16: "deep", 17: ""} {
		files := map[string]string{"config": "Include 1\n"}
		for i := 1; i < depth; i++ {
			files[fmt.Sprint(i)] = fmt.Sprintf("Include %d\n", i+1)
		}
		files[fmt.Sprint(depth)] = "User deep\n"
		hops, err := route(t, home(t, files), "ssh://app1")
		switch {
		case want == "" && (err == nil || !strings.Contains(err.Error(), "Include is nested more than 16 deep")):
			t.Errorf("%d: %v", depth, err)
		case want != "" && (err != nil || hops[0].user != want):
			t.Errorf("%d: %v, %v", depth, hops, err)
		}
	}
}

func TestRouteOverManyHosts(t *testing.T) {
	list := strings.Split("a,b,c,d,e,f,g,h", ",")
	hops, err := route(t, home(t, map[string]string{"config": "Host app1\n\tProxyJump " + strings.Join(list, ",") + "\n"}), "ssh://app1")
	if err != nil || len(hops) != 9 || hops[0].host != "a" || hops[8].host != "app1" {
		t.Errorf("%s, %v", describeRoute(hops), err)
	}
}

// Without HOME, the home directory is Windows' USERPROFILE; without USER, the
// user is that of the process.
func TestHomeAndUser(t *testing.T) {
	current, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir := home(t, map[string]string{"config": "Host app2\n\tUser other\n"})
	for name, c := range map[string]struct {
		env  map[string]string
		host string
		want string
	}{
		"HOME":        {map[string]string{"HOME": dir, "USERPROFILE": "/none", "USER": "me"}, "app2", "other"},
		"USERPROFILE": {map[string]string{"USERPROFILE": dir, "USER": "me"}, "app2", "other"},
		"USER":        {map[string]string{"USER": "me"}, "app2", "me"},
		"neither":     {nil, "app2", current.Username},
	} {
		hops, err := New(Options{Env: c.env}).route(t.Context(), address(t, "ssh://"+c.host))
		if err != nil || hops[0].user != c.want {
			t.Errorf("%s: %v, %v; want %s", name, hops, err, c.want)
		}
	}
}
