package overssh

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
)

// userHome makes a directory the home of root, where ssh looks for its files
// whatever HOME is, and adds the user deploy. It returns the directory for them.
func userHome(t *testing.T) string {
	t.Helper()
	home := root(t)
	dir := filepath.Join(home, ".ssh")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	replace(t, "/etc/passwd", "root:x:0:0:root:"+home+":/bin/bash\ndeploy:x:3001:3001::/tmp:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n", 0o644)
	replace(t, "/etc/shadow", "root:*:20000:0:99999:7:::\ndeploy:*:20000:0:99999:7:::\n", 0o600)
	return dir
}

// logins returns the logins that servers have logged so far, each as the server's
// number, the user and the key.
func logins(t *testing.T, servers ...*testbed.SSHD) []string {
	t.Helper()
	accepted := regexp.MustCompile(`Accepted publickey for (\S+) from \S+ port \d+ ssh2: (.*)`)
	var all []string
	for i, s := range servers {
		text, err := os.ReadFile(s.Log)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range accepted.FindAllStringSubmatch(string(text), -1) {
			all = append(all, fmt.Sprintf("server %d: %s by %s", i+1, m[1], m[2]))
		}
	}
	return all
}

// newLogins returns those that do was the reason of, in the order of the servers.
func newLogins(t *testing.T, do func(), servers ...*testbed.SSHD) []string {
	t.Helper()
	var before []int
	for _, s := range servers {
		before = append(before, len(logins(t, s)))
	}
	do()
	var found []string
	for i, s := range servers {
		for _, l := range logins(t, s)[before[i]:] {
			found = append(found, fmt.Sprintf("of %d, %s", i+1, l))
		}
	}
	return found
}

// TestConfigurationsOfOpenSSH checks that `--ssh openssh` reaches the host, the user
// and the key that `ssh` reaches, or is refused as ssh is. It does not send an
// executable, so it can run beside others.
func TestConfigurationsOfOpenSSH(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	testbed.NeedUsers(t)
	dir := userHome(t)
	there := install(t, root(t))
	replace(t, "/etc/hosts", "127.0.0.1 localhost app.example.test app.example.test.\n", 0o644)
	ca := filepath.Join(dir, "ca")
	keygen(t, "-q", "-t", "ed25519", "-N", "", "-f", ca)
	keygen(t, "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "host"))
	keygen(t, "-q", "-s", ca, "-I", "host", "-h", "-n", "127.0.0.3", filepath.Join(dir, "host.pub"))
	trusted := write(t, "ca.pub", read(t, ca+".pub"))
	one := testbed.StartSSHD(t, "127.0.0.1:2201", "TrustedUserCAKeys "+trusted)
	two := testbed.StartSSHD(t, "127.0.0.2:2202")
	certified := testbed.StartSSHD(t, "127.0.0.3:2203", "HostKey "+filepath.Join(dir, "host"), "HostCertificate "+filepath.Join(dir, "host-cert.pub"), "HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com")
	six := testbed.StartSSHD(t, "[::1]:2204")
	servers := []*testbed.SSHD{one, two, certified, six}
	own := one.Key(t, "of-ca")
	keygen(t, "-q", "-s", ca, "-I", "user", "-n", "deploy", own+".pub")
	apart := write(t, "apart-cert.pub", read(t, own+"-cert.pub"))
	if err := os.Rename(own+"-cert.pub", own+"-other.pub"); err != nil {
		t.Fatal(err)
	}
	public := strings.Join(strings.Fields(read(t, one.HostKey+".pub"))[:2], " ")
	known := write(t, "known_hosts", "")
	for _, s := range []*testbed.SSHD{one, two, six} {
		text, err := os.ReadFile(s.KnownHosts(t))
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(known, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(text)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	locked := filepath.Join(one.Dir, "locked")
	if text, err := os.ReadFile(one.UserKey); err != nil || os.WriteFile(locked, text, 0o600) != nil {
		t.Fatal(err)
	}
	keygen(t, "-q", "-p", "-a", "1", "-N", canary, "-f", locked)
	put := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put("config.d/app", "Host app\n HostName 127.0.0.1\n Port 2201\n User deploy\n IdentityFile "+one.UserKey+"\n")
	put("config.d/broken", "NoSuchOption yes\n")
	put("config.d/theirs", "User deploy\n")
	put("config.d/10-user", "Host app\n Include config.d/20-*\n")
	put("config.d/20-user", "User deploy\nMatch all\n IdentityFile "+one.UserKey+"\n")
	put("with space/key", read(t, one.UserKey))
	put("revoked", public+"\n")
	if err := os.Chown(filepath.Join(dir, "config.d/theirs"), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	agent := filepath.Join(dir, "agent")
	background(t, agent, exec.Command("ssh-agent", "-D", "-a", agent))
	add := exec.Command("ssh-add", "-q", one.UserKey)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+agent)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v\n%s", err, out)
	}
	master := filepath.Join(dir, "master")
	background(t, master, exec.Command("ssh", "-F", "none", "-MN", "-S", master, "-i", one.UserKey, "-o", "UserKnownHostsFile="+known, "-p", "2201", "deploy@127.0.0.1"))
	// Each configuration ends with base, unless its name says otherwise.
	base := "Host *\n UserKnownHostsFile " + known + "\n"
	app := "Host app\n HostName 127.0.0.1\n Port 2201\n"
	key := " IdentityFile " + one.UserKey + "\n"
	toTwo := " HostName 127.0.0.2\n Port 2202\n IdentityFile " + two.UserKey + "\n"
	changed := write(t, "known_hosts", "[127.0.0.1]:2201 "+read(t, ca+".pub"))
	plain := write(t, "known_hosts", "127.0.0.1 "+public+"\n")
	revoked := write(t, "known_hosts", "[127.0.0.1]:2201 "+public+"\n@revoked * "+public+"\n")
	authority := write(t, "known_hosts", "@cert-authority 127.0.0.* "+read(t, ca+".pub"))
	hashed := write(t, "known_hosts", "[127.0.0.1]:2201 "+public+"\n")
	keygen(t, "-q", "-H", "-f", hashed)
	knownBy := func(file string) string { return app + key + " User deploy\n UserKnownHostsFile " + file + "\n" }
	toCertified := "Host app\n HostName 127.0.0.3\n Port 2203\n IdentityFile " + certified.UserKey + "\n UserKnownHostsFile "
	for _, c := range []struct {
		name, text string
		step       string // of the refusal; "" if the host is reached
		reason     string
	}{
		{"an Include of nothing", "Include none-of-this\n" + app + key + " User deploy\n", "", ""},
		{"a dangling Include", "Include dangling\n" + app + key + " User deploy\n", "", ""},
		{"Include config.d", "Include config.d/a*\n", "", ""},
		{"Include within a Host", "Host other\n Include config.d/broken\n" + app + key, "config", "nosuchoption"},
		{"Match host", app + key + "Match host 127.0.0.1\n User deploy\n", "", ""},
		{"Match host that leads elsewhere", "Match host app\n" + toTwo + app + key, "", ""},
		{"Match originalhost", "Match originalhost app\n User deploy\n" + app + key, "", ""},
		{"Match exec", "Match exec \"test %n = app\"\n User deploy\n" + app + key, "", ""},
		{"Match exec that fails", "Match exec false\n User deploy\n" + app + key, "", ""},
		{"Match user", "Match user root\n" + toTwo + app + key, "", ""},
		{"Match localuser", "Match localuser root\n User deploy\n" + app + key, "", ""},
		{"Match final", app + key + "Match final host 127.0.0.1\n User deploy\n", "", ""},
		{"a negation", "Host * !app\n User root\nHost *\n User deploy\n" + app + key, "", ""},
		{"tokens and variables", app + " User deploy\n IdentityFile ${KEYS}/us%%er\n IdentityFile ${KEYS}/user\n", "", ""},
		{"quotes and an equals sign", "Host \"app\"\n HostName=127.0.0.1\n Port = 2201\n IdentityFile \"" + one.UserKey + "\"\n User \"deploy\"\n", "", ""},
		{"ProxyJump", "Host bastion\n" + toTwo + app + key + " ProxyJump bastion\n", "", ""},
		{"ProxyJump by address", app + key + " ProxyJump deploy@127.0.0.2:2202\nHost 127.0.0.2\n IdentityFile " + two.UserKey + "\n", "", ""},
		{"ProxyCommand", "Host bastion\n" + toTwo + app + key + " ProxyCommand ssh -W %h:%p bastion\n", "", ""},
		{"ProxyCommand before ProxyJump", "Host bastion\n" + toTwo + app + key + " ProxyCommand ssh -W %h:%p bastion\n ProxyJump nowhere.invalid\n", "", ""},
		{"a ProxyCommand that fails", app + key + " ProxyCommand sh -c 'echo over-the-proxy >&2; exit 1'\n", "proxy", "over-the-proxy"},
		{"a jump host that refuses", "Host bastion\n HostName 127.0.0.2\n Port 2202\n" + app + key + " ProxyJump bastion\n", "proxy", "Permission denied (publickey)"},
		{"a jump host with no way on", "Host bastion\n" + toTwo + "Host app\n HostName 127.0.0.1\n Port 9\n ProxyJump bastion\n", "proxy", "Connection refused"},
		{"IdentityAgent", app + " User deploy\n IdentityAgent " + agent + "\n", "", ""},
		{"no IdentityAgent", app + " User deploy\n IdentityAgent none\n", "authentication", "there is no key to offer"},
		{"KnownHostsCommand", app + key + " UserKnownHostsFile none\n KnownHostsCommand /bin/cat " + known + "\n", "", ""},
		{"no known hosts", app + key + " UserKnownHostsFile none\n", "host key", "is unknown"},
		{"HostKeyAlias", app + key + " HostKeyAlias nothing\n", "host key", "is unknown"},
		{"ControlMaster that is up", app + " User deploy\n IdentityFile none\n IdentityAgent none\n ControlPath " + master + "\n", "", ""},
		{"ControlMaster auto", app + key + " ControlMaster auto\n ControlPersist yes\n ControlPath " + dir + "/of-%r\n", "", ""},
		{"a locked key", app + " IdentitiesOnly yes\n IdentityFile " + locked + "\n", "authentication", "if the key is encrypted, add it to an agent"},
		{"an unknown option", "NoSuchOption yes\n" + app + key, "config", "nosuchoption"},
		{"an ignored option", "IgnoreUnknown NoSuch*\nNoSuchOption yes\n" + app + key + " User deploy\n", "", ""},
		{"Match all", "Match all\n User deploy\n" + app + key, "", ""},
		{"Match canonical", "CanonicalizeHostname always\n" + app + key + "Match canonical host 127.0.0.1\n User deploy\n", "", ""},
		{"Match without canonicalization", app + key + "Match canonical host 127.0.0.1\n User deploy\n", "", ""},
		{"Match of two criteria", "Match host app exec true !user root\n User nobody\nMatch host app !exec false user root\n User deploy\n" + app + key, "", ""},
		{"an unknown Match", "Match weather rainy\n User deploy\n" + app + key, "config", "weather"},
		{"canonicalization", "CanonicalizeHostname yes\nCanonicalDomains none.test example.test\nHost app.example.test\n User deploy\n Port 2201\n HostKeyAlias [127.0.0.1]:2201\n" + key, "", ""},
		{"canonicalization that fails", "CanonicalizeHostname yes\nCanonicalDomains none.test\nCanonicalizeFallbackLocal no\n" + key, "resolve", "app"},
		{"a token in HostName", "Host app\n HostName %h.example.test\n Port 2201\n HostKeyAlias [127.0.0.1]:2201\n User deploy\n" + key, "", ""},
		{"a bad token", "Host app\n HostName %x\n" + key, "config", "%x"},
		{"a name with a space", app + " User deploy\n IdentityFile \"" + filepath.Join(dir, "with space/key") + "\"\n", "", ""},
		{"a name with ~", app + " User deploy\n IdentityFile \"~/.ssh/with space/key\"\n", "", ""},
		{"comments", "# a comment\n\n\tHost app # the app\n HostName 127.0.0.1 # here\n Port 2201\n User deploy\n" + key, "", ""},
		{"wildcards", "Host ??? !a?p\n User root\nHost a*\n User deploy\n" + app + key, "", ""},
		{"the first value", "Host app\n User deploy\nHost a*\n User root\n" + app + key + " Port 1\n", "", ""},
		{"an open quote", "Host app\n User \"deploy\n" + app + key, "config", "onfig"},
		{"a bad port", "Port 0\n" + app + key, "config", "Bad port"},
		{"Include within an Include", "Include config.d/10-*\n" + app, "", ""},
		{"an Include of somebody else's", "Include config.d/theirs\n" + app + key, "config", "Bad owner or permissions"},
		{"a certificate", app + " User deploy\n IdentitiesOnly yes\n IdentityFile " + own + "\n CertificateFile " + apart + "\n", "", ""},
		{"a key without its certificate", app + " User deploy\n IdentitiesOnly yes\n IdentityFile " + own + "\n", "authentication", "offered: " + own},
		{"a host's certificate", toCertified + authority + "\n", "", ""},
		{"a host's certificate of nobody", toCertified + known + "\n", "host key", "is unknown"},
		{"keys known without port", knownBy(plain), "", ""},
		{"hashed names", knownBy(hashed), "", ""},
		{"two files of known hosts", knownBy(changed + " " + known), "", ""},
		{"GlobalKnownHostsFile", app + key + " UserKnownHostsFile none\n GlobalKnownHostsFile " + known + "\n", "", ""},
		{"a changed key", knownBy(changed), "host key", "has changed"},
		{"a revoked key", knownBy(revoked), "host key", "is revoked"},
		{"RevokedHostKeys", app + key + " RevokedHostKeys " + filepath.Join(dir, "revoked") + "\n", "host key", "revoked"},
		{"no check of host keys", app + key + " StrictHostKeyChecking no\n UserKnownHostsFile none\n", "host key", "is unknown"},
		{"ProxyJump as a URI", app + key + " ProxyJump ssh://deploy@127.0.0.2:2202\nHost 127.0.0.2\n IdentityFile " + two.UserKey + "\n", "", ""},
		{"ProxyJump over two", "Host bastion\n" + toTwo + "Host second\n HostName 127.0.0.1\n Port 2201\n" + key + app + key + " User deploy\n ProxyJump bastion,second\n", "", ""},
		{"ProxyJump before ProxyCommand", "Host bastion\n" + toTwo + app + key + " ProxyJump bastion\n ProxyCommand false\n", "", ""},
		{"ProxyJump none", app + key + " ProxyJump none\nHost *\n ProxyJump nowhere.invalid\n", "", ""},
		{"ProxyCommand none", app + key + " ProxyCommand none\nHost *\n ProxyCommand false\n", "", ""},
		{"a ControlPath without a master", app + key + " User deploy\n ControlPath " + filepath.Join(dir, "nobody") + "\n", "", ""},
		{"IdentitiesOnly beside an agent", app + " IdentityAgent " + agent + "\n IdentitiesOnly yes\n IdentityFile none\n", "authentication", "there is no key to offer"},
		{"no public keys", app + key + " PubkeyAuthentication no\n", "authentication", "Permission denied"},
		{"no common algorithm", app + key + " Ciphers 3des-cbc\n", "handshake", "no matching cipher"},
		{"another address family", app + key + " AddressFamily inet6\n", "resolve", "127.0.0.1"},
		{"forwardings", app + key + " User deploy\n LocalForward 2299 127.0.0.1:1\n ForwardAgent yes\n ForwardX11 yes\n", "", ""},
		{"quiet", app + key + " User deploy\n LogLevel QUIET\n", "", ""},
		{"one that anybody may write", app + key, "config", "Bad owner or permissions"},
		{"IPv6", "Host ::1\n Port 2204\n User deploy\n IdentityFile " + six.UserKey + "\n", "", ""},
		{"somebody else's", app + key, "config", "Bad owner or permissions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			put("config", c.text+base)
			alias, target := "app", "ssh://app"
			if c.name == "IPv6" {
				alias, target = "::1", "ssh://[::1]"
			}
			if c.name == "one that anybody may write" {
				if err := os.Chmod(filepath.Join(dir, "config"), 0o666); err != nil {
					t.Fatal(err)
				}
				defer os.Remove(filepath.Join(dir, "config"))
			}
			if c.name == "somebody else's" {
				if err := os.Chown(filepath.Join(dir, "config"), 12345, 12345); err != nil {
					t.Fatal(err)
				}
				defer os.Remove(filepath.Join(dir, "config"))
			}
			env := []string{"KEYS=" + one.Dir, "HOME=" + filepath.Dir(dir)}
			var reached bool
			var said []byte
			var r run
			// Both at once, so each login has to occur twice.
			all := newLogins(t, func() {
				var both sync.WaitGroup
				both.Go(func() {
					cmd := exec.Command("ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ControlMaster=no", "-o", "ClearAllForwardings=yes", alias, "true")
					cmd.Env = append(os.Environ(), env...)
					var err error
					said, err = cmd.CombinedOutput()
					reached = err == nil
				})
				r = portcheck(t, env, "--ssh", "openssh", "-t", target, "-p", "8080", "--remote-path", there)
				both.Wait()
			}, servers...)
			if reached != (c.step == "") {
				t.Fatalf("ssh: %s", said)
			}
			slices.Sort(all)
			for i := 0; i < len(all); i += 2 {
				if i+1 == len(all) || all[i] != all[i+1] {
					t.Errorf("ssh and portcheck log in to different hosts: %q\n%s", all, r.stdout)
					break
				}
			}
			if c.step == "" {
				if r.code != 0 || !strings.Contains(r.stdout, "1 ok") {
					t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
				}
			} else {
				r.checkUnknown(t, "could not be checked: "+c.step+": ")
				r.checkUnknown(t, c.reason)
			}
			if left, err := filepath.Glob(dir + "/of-*"); err != nil || len(left) > 0 {
				t.Errorf("a master stays: %q, %v", left, err)
			}
		})
	}
	t.Run("children of a ProxyCommand", func(t *testing.T) {
		put("config", "Host bastion\n"+toTwo+app+key+" ProxyCommand sh -c '(trap \"\" HUP TERM; exec sleep 1234.5) & exec ssh -W %h:%p bastion'\n"+base)
		if r := portcheck(t, []string{"HOME=" + filepath.Dir(dir)}, "--ssh", "openssh", "-t", "ssh://app", "-p", "8080", "--remote-path", there); r.code != 0 {
			t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // it was killed, and ends soon
			if out, err := exec.Command("pgrep", "-fx", "sleep 1234.5").Output(); err != nil {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("a child stays: %s", out)
			}
		}
	})
	t.Run("the system's configuration", func(t *testing.T) {
		put("config", "")
		more := write(t, "more", app+key+base)
		stranger := one.Key(t, "stranger")
		reach := []string{"--ssh", "openssh", "-t", "ssh://app", "-p", "8080", "--remote-path", there}
		for _, text := range []string{"Include " + more + "\n", "Include none-of-this\n" + app + key + base} {
			replace(t, "/etc/ssh/ssh_config", text, 0o666)
			if err := os.Chown("/etc/ssh/ssh_config", 12345, 12345); err != nil {
				t.Fatal(err)
			}
			if r := portcheck(t, nil, reach...); r.code != 0 {
				t.Errorf("%s: exit code %d\n%s%s", text, r.code, r.stdout, r.stderr)
			}
			r := portcheck(t, nil, append([]string{"-i", stranger}, reach...)...)
			r.checkUnknown(t, "could not be checked: authentication: ")
			if strings.Contains(r.stdout, one.UserKey) {
				t.Errorf("%s: another key was offered: %s", text, r.stdout)
			}
		}
	})
	t.Run("a configuration of one's own", func(t *testing.T) {
		put("config", app+" User nobody\n"+base)
		config := write(t, "config", app+key+base)
		if err := os.Chmod(config, 0o666); err != nil {
			t.Fatal(err)
		}
		for flag, code := range map[string]int{config: 0, "none": 3} {
			if r := portcheck(t, nil, "--ssh-config", flag, "-t", "ssh://app", "-p", "8080", "--remote-path", there); r.code != code {
				t.Errorf("%s: exit code %d\n%s%s", flag, r.code, r.stdout, r.stderr)
			}
		}
	})
	t.Run("the keys of --identity alone", func(t *testing.T) {
		put("config", app+key+base)
		other := one.Key(t, "other")
		r := portcheck(t, []string{"HOME=" + filepath.Dir(dir)}, "--ssh", "openssh", "-t", "ssh://app", "-p", "8080", "-i", other)
		r.checkUnknown(t, "could not be checked: authentication: root@127.0.0.1: Permission denied")
		r.checkUnknown(t, "offered: "+other)
		if strings.Contains(r.stdout, one.UserKey) {
			t.Errorf("another key was offered: %s", r.stdout)
		}
		put("config", app+key+" ControlPath "+master+"\n"+base) // a master that is up has its own key and known hosts
		for flag, step := range map[string]string{"-i": "authentication", "--known-hosts": "host key"} {
			file := other
			if flag == "--known-hosts" {
				file = write(t, "none", "")
			}
			r := portcheck(t, []string{"HOME=" + filepath.Dir(dir)}, "--ssh", "openssh", "--ssh-log", "-t", "ssh://app", "-p", "8080", flag, file)
			r.checkUnknown(t, "could not be checked: "+step+": ")
			if !strings.Contains(r.stderr, "portcheck: ssh app: debug1: Connecting to ") {
				t.Errorf("the log of ssh is not shown: %s", r.stderr)
			}
		}
		put("config", "Host bastion\n"+toTwo+app+" ProxyJump bastion\n"+base)
		if r = portcheck(t, []string{"HOME=" + filepath.Dir(dir)}, "--ssh", "openssh", "-t", "ssh://App", "-p", "8080", "-i", one.UserKey, "--remote-path", there); r.code == 0 {
			t.Errorf("an alias in another case is reached: %s", r.stdout)
		}
		if r = portcheck(t, []string{"HOME=" + filepath.Dir(dir)}, "--ssh", "openssh", "-t", "ssh://app", "-p", "8080", "-i", one.UserKey, "--remote-path", there); r.code != 0 {
			t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
	})
}

// keygen runs ssh-keygen.
func keygen(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ssh-keygen", args...).CombinedOutput(); err != nil {
		testbed.Missing(t, fmt.Sprintf("needs openssh-client: ssh-keygen %q: %v\n%s", args, err, out))
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// background runs a command until the test ends. It is ready when a socket exists.
func background(t *testing.T, socket string, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		testbed.Missing(t, fmt.Sprintf("needs openssh-client: %v", err))
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended already
		_ = cmd.Wait()         // killed: the error is expected
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
