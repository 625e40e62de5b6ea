package config

import (
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	for target, want := range map[string]SSHAddress{
		"ssh://app1":                        {"", "app1", ""},
		"ssh://deploy@app1":                 {"deploy", "app1", ""},
		"ssh://deploy@app1.example:2222":    {"deploy", "app1.example", "2222"},
		"ssh://192.0.2.1:022":               {"", "192.0.2.1", "22"},
		"ssh://[2001:db8::1]":               {"", "2001:db8::1", ""},
		"ssh://u@[2001:db8::1]:65535":       {"u", "2001:db8::1", "65535"},
		"ssh://[fe80::1%25eth0]":            {"", "fe80::1%eth0", ""},
		"ssh://CORP%5cu@app1":               {`CORP\u`, "app1", ""},
		"ssh://u@corp@app1":                 {"u@corp", "app1", ""},
		"ssh://my_alias-1":                  {"", "my_alias-1", ""},
		"ssh://" + strings.Repeat("a", 253): {"", strings.Repeat("a", 253), ""},
	} {
		if got, err := ParseTarget(target); err != nil || got != (Target{Kind: "ssh", SSH: want}) {
			t.Errorf("%s: %+v, %v; want %+v", target, got, err, want)
		}
	}
	for _, k := range TargetKinds {
		if got, err := ParseTarget(k.Example); err != nil || got.Kind != k.Name || got.KindOf().Syntax != k.Syntax {
			t.Errorf("%s: %+v, %v", k.Example, got, err)
		}
	}
	if got, err := ParseTarget("container:shop-web-1"); err != nil || got.Name != "shop-web-1" {
		t.Errorf("%+v, %v", got, err)
	}
	for target, want := range map[string]string{
		"":                                  `"" is not a target: want auto, local, runner, job, container:NAME or ssh://[USER@]HOST[:PORT]`,
		"app1":                              `"app1" is not a target: want auto`,
		"SSH://app1":                        `"SSH://app1" is not a target: want auto`,
		"ssh://":                            "the host is missing: use ssh://[USER@]HOST[:PORT]",
		"ssh://u@":                          "the host is missing",
		"ssh://:22":                         "the host is missing",
		"ssh://@app1":                       "the user before the @ is missing",
		"ssh://-oX@app1":                    "the user must have",
		"ssh://a%0ab@app1":                  "the user must have",
		"ssh://a%zz@app1":                   "the user has an invalid escape",
		"ssh://-oProxyCommand":              "the host must have",
		"ssh://a,b":                         "the host must have",
		"ssh://*":                           "the host must have",
		"ssh://a b":                         "the host must have",
		"ssh://a`":                          "the host must have",
		"ssh://a{":                          "the host must have",
		"ssh://a[":                          "the host must have",
		"ssh://" + strings.Repeat("a", 254): "the host must have 1 to 253",
		"ssh://h\u00e4":                     "the host must have",
		"ssh://app1/":                       "a target has no path, query or fragment",
		"ssh://app1?x":                      "a target has no path, query or fragment",
		"ssh://app1#":                       "a target has no path, query or fragment",
		"ssh://app1:":                       "the port after the colon is missing: use ssh://[USER@]HOST[:PORT]",
		"ssh://app1:0":                      `"0" is not a port: want a number from 1 to 65535, as in ssh://app1:22`,
		"ssh://app1:65536":                  `"65536" is not a port`,
		"ssh://app1:1234567":                "the port must be a number from 1 to 65535",
		"ssh://app1:ssh":                    "the port must be a number from 1 to 65535",
		"ssh://app1:+1":                     "the port must be a number from 1 to 65535",
		"ssh://2001:db8::1":                 "an IPv6 address must be in brackets",
		"ssh://[2001:db8::1":                "brackets must contain an IPv6 address",
		"ssh://[192.0.2.1]":                 "brackets must contain an IPv6 address",
		"ssh://[fe80::1%25a b]":             "brackets must contain an IPv6 address",
		"ssh://[::1]x":                      "only a port may follow the brackets",
		"ssh://u:canary@app1":               "a password in a target is not supported",
		"ssh://u:@app1":                     "a password in a target is not supported",
		"ssh://u:canary@":                   "a password in a target is not supported",
		"ssh://u:can/ary@app1":              "a password in a target is not supported",
		"http://u:canary@app1":              "a password in a target is not supported",
		"local2":                            `"local2" is not a target`,
		"container:":                        `"container:" is not a target: want container:NAME`,
		"container:-v":                      `"container:-v" is not a target: want container:NAME`,
		"container:a/b":                     `"container:a/b" is not a target: want container:NAME`,
		"container:a\x1b[31m":               `"container:a\x1b[31m" is not a target: want container:NAME`,
		"ssh://u:c@nary@app1:x":             "a password in a target is not supported",
	} {
		_, err := ParseTarget(target)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.ContainsAny(err.Error(), "\n") {
			t.Errorf("%q: %v; want %q", target, err, want)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, seed := range []string{"u@app1:22", "[::1]:22", "u:canary@app1", "%41@b", "[fe80::1%25eth0]"} {
		f.Add(seed, "password")
	}
	f.Fuzz(func(t *testing.T, authority, password string) {
		target, err := ParseTarget("ssh://" + authority)
		if err == nil {
			n := target.SSH
			if !IsSSHHost(n.Host) && !strings.Contains(n.Host, ":") || strings.HasPrefix(n.User, "-") {
				t.Errorf("%q: accepted as %+v", authority, n)
			}
		}
		const marker = "canary5e1f"
		_, err = ParseTarget("ssh://u:" + password + marker + "@" + authority)
		if err == nil || strings.Contains(err.Error(), marker) {
			t.Errorf("a password before %q: %v", authority, err)
		}
	})
}
