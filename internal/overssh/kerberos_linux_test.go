package overssh

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// TestKerberos checks that OpenSSH's client logs in with a ticket where `ssh` does,
// and that both clients say why there is no login.
func TestKerberos(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	testbed.NeedUsers(t)
	dir := userHome(t)
	there := install(t, root(t))
	replace(t, "/etc/hosts", "127.0.0.1 localhost host.example.test alias.example.test\n", 0o644)
	ticket := realm(t)
	without := []string{"KRB5CCNAME=FILE:" + filepath.Join(t.TempDir(), "none")}
	// The host notes where it has put a ticket that it got.
	note := filepath.Join(root(t), "note")
	if err := errors.Join(os.WriteFile(note, nil, 0o666), os.Chmod(note, 0o666)); err != nil {
		t.Fatal(err)
	}
	settings := []string{
		"GSSAPIAuthentication yes", "GSSAPIKeyExchange yes", "GSSAPIStrictAcceptorCheck no",
		"ForceCommand by=portcheck; [ \"$SSH_ORIGINAL_COMMAND\" != true ] || by=ssh; echo \"$by: ${KRB5CCNAME:-no ticket}\" >>" + note + "; eval \"$SSH_ORIGINAL_COMMAND\"",
	}
	s := testbed.StartSSHD(t, "127.0.0.1:2201", settings...)
	noKeys := testbed.StartSSHD(t, "127.0.0.1:2202", append(settings, "PubkeyAuthentication no")...)
	known := s.KnownHosts(t, "[host.example.test]:2201")
	stranger := s.Key(t, "stranger")
	base := "Host app\n HostName host.example.test\n Port 2201\n User deploy\n GSSAPIAuthentication yes\n UserKnownHostsFile " + known + "\n"
	for _, c := range []struct {
		name   string
		text   string // of the configuration, before base
		env    []string
		args   []string // of both
		reason string   // of the refusal; "" if the host is reached
	}{
		{name: "a ticket"},
		{name: "no ticket", env: without, reason: "; Kerberos: No Kerberos credentials available (default cache: FILE:"},
		{name: "a ticket of another user", text: "Host app\n User root\n", reason: "; Kerberos: the host does not let the owner of the ticket in as this user: see the user's ~/.k5login there"},
		{name: "a host without an entry", text: "Host app\n HostName alias.example.test\n HostKeyAlias [host.example.test]:2201\n", reason: "; Kerberos: Server host/alias.example.test@EXAMPLE.TEST not found in Kerberos database"},
		{name: "a ticket to hand on", text: "Host app\n GSSAPIDelegateCredentials yes\n"},
		{name: "a key that is refused", args: []string{"-i", stranger}},
		{name: "a key beside one of the configuration", text: "Host app\n IdentityFile /nonexistent\n HostName alias.example.test\n HostKeyAlias [host.example.test]:2201\n GSSAPIServerIdentity host.example.test\n", args: []string{"-i", stranger}},
		{name: "a key exchange by Kerberos", text: "Host app\n GSSAPIKeyExchange yes\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "config"), []byte(c.text+base), 0o600); err != nil {
				t.Fatal(err)
			}
			env := append([]string{"KRB5CCNAME=" + ticket, "HOME=" + filepath.Dir(dir)}, c.env...)
			if err := os.Truncate(note, 0); err != nil {
				t.Fatal(err)
			}
			reached, said, r := besideSSH(t, env, append([]string{"app"}, c.args...), append([]string{"-t", "ssh://app", "--remote-path", there}, c.args...), s)
			if reached != (c.reason == "") {
				t.Fatalf("ssh: %s", said)
			}
			if c.reason != "" {
				r.checkUnknown(t, "could not be checked: authentication: ")
				r.checkUnknown(t, c.reason)
				return
			}
			if r.code != 0 {
				t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
			}
			got, handsOn := read(t, note), strings.Contains(c.text, "DelegateCredentials yes")
			if strings.Contains(got, "ssh: FILE:") != handsOn || !strings.Contains(got, "portcheck: no ticket\n") {
				t.Errorf("the host got: %s", got)
			}
		})
	}
	t.Run("known hosts count in spite of a key exchange by Kerberos", func(t *testing.T) {
		config := write(t, "config", "GSSAPIKeyExchange yes\n"+base)
		nothing := write(t, "known_hosts", "")
		r := portcheck(t, []string{"KRB5CCNAME=" + ticket}, "--ssh-config", config, "--known-hosts", nothing, "-t", "ssh://app", "-p", "8080", "--remote-path", there)
		r.checkUnknown(t, "could not be checked: host key: ")
	})
	t.Run("the built-in client", func(t *testing.T) {
		const has = "; Kerberos needs OpenSSH's client"
		file := write(t, "known_hosts", read(t, s.KnownHosts(t))+read(t, noKeys.KnownHosts(t)))
		for target, reason := range map[string]string{
			"ssh://deploy@127.0.0.1:2201": "no key is accepted (the host accepts publickey, gssapi-keyex, gssapi-with-mic)" + has,
			"ssh://deploy@127.0.0.1:2202": "the host accepts no keys, only gssapi-keyex, gssapi-with-mic, which is not supported" + has,
		} {
			r := portcheck(t, []string{"KRB5CCNAME=" + ticket}, "--ssh", "builtin", "-t", target, "-p", "8080", "-i", stranger, "--known-hosts", file)
			r.checkUnknown(t, reason)
		}
	})
}

// realm runs a Kerberos server in this network namespace, and has all later programs
// of this process use it. It returns the cache with a ticket of the user deploy. The
// realm has a key for the host host.example.test alone.
func realm(t *testing.T) (ticket string) {
	t.Helper()
	for _, name := range []string{"krb5kdc", "kdb5_util", "kadmin.local", "kinit"} {
		if _, err := exec.LookPath(name); err != nil {
			testbed.Missing(t, fmt.Sprintf("needs krb5-kdc, krb5-admin-server and krb5-user: %v", err))
		}
	}
	dir := root(t) // the server reads the configuration as the user who logs in
	ticket = "FILE:" + filepath.Join(dir, "ticket")
	config := filepath.Join(dir, "krb5.conf")
	text := strings.ReplaceAll(`[libdefaults]
default_realm = EXAMPLE.TEST
default_keytab_name = DIR/keytab
dns_canonicalize_hostname = false
dns_lookup_kdc = false
[realms]
EXAMPLE.TEST = {
  kdc = 127.0.0.1:88
  key_stash_file = DIR/stash
}
[kdcdefaults]
kdc_listen = 127.0.0.1:88
kdc_tcp_listen = 127.0.0.1:88
[dbmodules]
EXAMPLE.TEST = {
  db_library = db2
  database_name = DIR/principal
}
`, "DIR", dir)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	// Not t.Setenv, which parallel tests can't use: this process has no other test.
	if err := os.Setenv("KRB5_CONFIG", config); err != nil {
		t.Fatal(err)
	}
	if err := os.Setenv("KRB5_KDC_PROFILE", config); err != nil {
		t.Fatal(err)
	}
	do := func(input, name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Stdin = strings.NewReader(input)
		cmd.Env = append(os.Environ(), "KRB5CCNAME="+ticket)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, said.String())
		}
	}
	do("", "kdb5_util", "create", "-s", "-P", canary)
	do("addprinc -pw "+canary+" deploy\naddprinc -randkey host/host.example.test\nktadd host/host.example.test\n", "kadmin.local")
	pid := filepath.Join(dir, "pid")
	background(t, pid, exec.Command("krb5kdc", "-n", "-P", pid))
	do(canary+"\n", "kinit", "-f", "deploy")
	return ticket
}
