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
	if got, want := m.stderrText(), "sudo: a password\nis required"; got != want || !m.reached {
		t.Errorf("%q (%t), want %q", got, m.reached, want)
	}
}

// The agent is named only while ssh may wait for it: afterwards it waits for the host.
func TestWhatIsWaitedFor(t *testing.T) {
	m := newMessages()
	for _, c := range []struct{ said, step, waitsFor string }{
		{"Server host key: ssh-ed25519 SHA256:x", "host key", ""},
		{"SSH2_MSG_NEWKEYS sent", "host key", ""},
		{"SSH2_MSG_NEWKEYS received", "authentication", theAgent},
		{"rekey in after 134217728 blocks", "authentication", theAgent},
		{"get_agent_identities: bound agent to hostkey", "authentication", theAgent},
		{"Will attempt key: k ED25519 SHA256:x agent", "host key", ""},
		{"SSH2_MSG_SERVICE_ACCEPT received", "authentication", ""},
		{"Offering public key: k ED25519 SHA256:x agent", "authentication", ""},
		{"Server accepts key: k ED25519 SHA256:x agent", "authentication", theAgent},
		{"Authentications that can continue: publickey", "authentication", ""},
		{"Server accepts key: f ED25519 SHA256:y explicit", "authentication", ""},
		{"Server accepts key: s ED25519-SK SHA256:z agent", "authentication", "a touch of the security key s ED25519-SK SHA256:z agent"},
		{"Offering public key: l ED25519 SHA256:x", "authentication", ""},
	} {
		m.add("debug1: " + c.said + "\r\n")
		if step, waitsFor := m.current(); step != c.step || waitsFor != c.waitsFor {
			t.Errorf("after %q: %s, %q", c.said, step, waitsFor)
		}
	}
}

// The reason of a failure is what ssh says first of it, not what follows from that.
func TestReasons(t *testing.T) {
	const key = "debug1: Connecting to h\ndebug1: Connection established.\ndebug1: Server host key: ssh-ed25519 SHA256:x\n"
	const login = key + "debug1: SSH2_MSG_SERVICE_ACCEPT received\n"
	for said, want := range map[string]string{
		"debug1: Connecting to h\nssh: connect to host h port 9999: Connection refused\r\n":                                                                                                                                                                                                  "connect: host h port 9999: Connection refused; look whether sshd runs on that host, and whether it listens on this port",
		"debug1: Connecting to h\nbind 10.9.9.9: Cannot assign requested address\r\nssh: connect to host h port 22: failure\r\n":                                                                                                                                                             "connect: bind 10.9.9.9: Cannot assign requested address",
		"debug1: Connection established.\nkex_exchange_identification: Connection closed by remote host\r\nConnection closed by h\r\n":                                                                                                                                                       "handshake: Connection closed by h; if many connect to the host at once, its MaxStartups may be too low: use --parallel with a smaller number",
		"debug1: Connection established.\ndebug1: kex_exchange_identification: banner line 0: <!DOCTYPE HTML>\ndebug1: kex_exchange_identification: banner line 1: <html>\nkex_exchange_identification: Connection closed by remote host\r\nConnection closed by h\r\n":                      "handshake: what listens there does not speak SSH: it has sent \"<!DOCTYPE HTML>\"; name the port of the host's SSH server",
		"debug1: Connection established.\ndebug1: ssh_exchange_identification: HTTP/1.1 400 Bad Request\nssh_exchange_identification: Connection closed by remote host\r\nConnection closed by h\r\n":                                                                                        "handshake: what listens there does not speak SSH: it has sent \"HTTP/1.1 400 Bad Request\"; name the port of the host's SSH server",
		"debug1: Connection established.\ndebug1: kex_exchange_identification: banner line 0: hello\ndebug1: Remote protocol version 2.0, remote software version x\nConnection closed by h\r\n":                                                                                             "handshake: Connection closed by h; if many connect to the host at once, its MaxStartups may be too low: use --parallel with a smaller number",
		"vdollar_percent_expand: env var ${X} has no value\r\ninvalid environment variable expansion\r\n":                                                                                                                                                                                    "config: vdollar_percent_expand: env var ${X} has no value",
		key + "Error checking host key x in revoked keys file /r: No such file or directory\r\nHost key verification failed.\r\n":                                                                                                                                                            "host key: Error checking host key x in revoked keys file /r: No such file or directory",
		"debug1: Server host certificate: ssh-ed25519-cert-v01@openssh.com SHA256:x, serial 0\nCertificate invalid: name is not a listed principal\r\nHost key verification failed.\r\n":                                                                                                     "host key: the certificate ssh-ed25519-cert-v01@openssh.com SHA256:x is not for this host, or has expired: Certificate invalid: name is not a listed principal",
		login + "debug1: Offering public key: k\nReceived disconnect from h port 22:2: Too many authentication failures\r\nDisconnected from h port 22\r\n":                                                                                                                                  "authentication: Received disconnect from h port 22:2: Too many authentication failures; offered: k; the host accepts none of them for this user: see the user's ~/.ssh/authorized_keys there, or name another user",
		login + "debug1: Offering public key: k\ndebug1: Server accepts key: k\nPermissions 0644 for 'k' are too open.\r\nu@h: Permission denied (publickey).\r\n":                                                                                                                           "authentication: u@h: Permission denied (publickey).; offered: k; ssh ignores a key file: Permissions 0644 for 'k' are too open. Use chmod 600",
		login + "debug1: Offering public key: k ED25519-SK SHA256:x\ndebug1: Server accepts key: k ED25519-SK SHA256:x\nsign_and_send_pubkey: signing failed for ED25519-SK \"k: l\": device not found\r\nu@h: Permission denied (publickey).\r\n":                                           "authentication: u@h: Permission denied (publickey).; offered: k ED25519-SK SHA256:x; the host accepts k ED25519-SK SHA256:x, but it can't sign: device not found: connect the security key, or touch it in time; one that wants a PIN can't be used, because nothing asks for it",
		login + "debug1: Offering public key: k\ndebug1: Server accepts key: k\nsign_and_send_pubkey: signing failed for ED25519 \"k\" from agent: agent refused operation\r\nu@h: Permission denied (publickey).\r\n":                                                                       "authentication: u@h: Permission denied (publickey).; offered: k; the host accepts k, but it can't sign: agent refused operation: if the key is encrypted, add it to an agent (ssh-add), and if the file has only the public half, name that of the private one",
		login + "debug1: Next authentication method: gssapi-with-mic\ndebug1: Unspecified GSS failure.  Minor code may provide more information\nTicket expired\n\n\ndebug1: Next authentication method: publickey\ndebug1: Offering public key: k\nu@h: Permission denied (publickey).\r\n": "authentication: u@h: Permission denied (publickey).; offered: k; the host accepts none of them for this user: see the user's ~/.ssh/authorized_keys there, or name another user; Kerberos: Ticket expired",
		login + "debug1: Next authentication method: gssapi-with-mic\ndebug1: Authentications that can continue: publickey\ndebug1: Next authentication method: publickey\nu@h: Permission denied (publickey).\r\n":                                                                          "authentication: u@h: Permission denied (publickey).; there is no key to offer: use --identity, an agent, or IdentityFile in ~/.ssh/config; Kerberos: the host does not let the owner of the ticket in as this user: see the user's ~/.k5login there",
	} {
		m := newMessages()
		m.read(strings.NewReader(said))
		if got := m.failure().Error(); got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", said, got, want)
		}
		if len(m.lines()) != strings.Count(said, "\n") {
			t.Errorf("%q: the log has %q", said, m.lines())
		}
	}
}
