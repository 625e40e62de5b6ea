package openssh

import (
	"strings"
	"testing"
)

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

// TestStderrOfACommand checks that ssh's own lines are no part of it.
func TestStderrOfACommand(t *testing.T) {
	m := newMessages()
	m.read(strings.NewReader("OpenSSH_9.2p1\r\ndebug1: Connecting to x\r\na banner\nAuthenticated to x (via proxy) using \"publickey\".\r\n" +
		"debug1: Sending command: x\r\nsudodebug1: client_input_channel_req: channel 0\r\n: a password\nis required" +
		"Transferred: sent 1, received 2 bytes, in 0.1 seconds\r\nBytes per second: sent 1\r\ndebug1: Exit status 1\r\n"))
	if got, want := m.stderrText(), "sudo: a password\nis required"; got != want || m.current() != "" {
		t.Errorf("%q at %q, want %q", got, m.current(), want)
	}
}
