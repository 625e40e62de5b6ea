package openssh

import "testing"

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]version{
		"OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026\n": {9, 2},
		"OpenSSH_10.0p2, OpenSSL 3.5.1\n":                               {10, 0},
		"OpenSSH_for_Windows_9.5p1, LibreSSL 3.8.2\r\n":                 {9, 5},
		"Dropbear v2022.83\n":                                           {},
		"":                                                              {},
	} {
		if got, err := parseVersion(text); got != want || (err == nil) != (want != version{}) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestAbsoluteIncludes(t *testing.T) {
	for text, want := range map[string]string{
		"Include /etc/ssh/ssh_config.d/*.conf\nHost *\n": "Include /etc/ssh/ssh_config.d/*.conf\nHost *\n",
		"include conf.d/*.conf /abs \"more\"\n":          "include \"/dir/conf.d/*.conf\" /abs \"/dir/more\"\n",
		"  Include=conf\nHost a\n":                       "Include \"/dir/conf\"\nHost a\n",
		"Include ~/x\n":                                  "Include ~/x\n",
	} {
		got, changed := absoluteIncludes(text, "/dir")
		if got != want+"\n" || changed == (text == want) {
			t.Errorf("%q: %q, %t", text, got, changed)
		}
	}
}
