package sshlink

import (
	"fmt"
	"strings"
	"testing"

	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"github.com/org/portcheck/internal/testbed"
)

func TestKnownHosts(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	s := startSSHD(t, "127.0.0.1:2222")
	public := strings.TrimSpace(read(t, s.HostKey+".pub"))
	other := strings.TrimSpace(read(t, s.UserKey+".pub"))
	rsa := strings.TrimSpace(read(t, s.Key(t, "rsa", "-t", "rsa")+".pub"))
	for name, lines := range map[string]string{
		"plain":                 "[127.0.0.1]:2222 " + public,
		"hashed":                xknownhosts.HashHostname("[127.0.0.1]:2222") + " " + public,
		"a wildcard":            "127.0.0.* " + public,
		"without the port":      "127.0.0.1 " + public,
		"hashed without a port": xknownhosts.HashHostname("127.0.0.1") + " " + public,
		"without it, beside the port's of another type": "[127.0.0.2]:2222 " + rsa + "\n127.0.0.1 " + public,
		"one of several":         "[app1]:1,[127.0.0.1]:2222 " + public + " comment",
		"the second of its type": "[127.0.0.1]:2222 " + other + "\n[127.0.0.1]:2222 " + public,
		"beside another type":    "[127.0.0.1]:2222 " + rsa + "\n[127.0.0.1]:2222 " + public,
		"Windows":                "# comment\r\n\r\n[127.0.0.1]:2222 " + public + "\r\n",
		"beside what is broken":  "[127.0.0.1]:2222 ssh-ed25519 AAAA\nx ssh-dss " + strings.Repeat("A", 1<<17) + "\n[127.0.0.1]:2222 " + public,
		"beside a revoked one":   "@revoked * " + other + "\n[127.0.0.1]:2222 " + public,
	} {
		o := options(t, s)
		o.KnownHosts = ""
		o.Env[knownHostsVariable] = lines
		if err := try(t, o, "ssh://root@127.0.0.1:2222"); err != nil {
			t.Errorf("%s, by the variable: %v", name, err)
		}
		o.Env = map[string]string{"HOME": home(t, map[string]string{"known_hosts2": lines})}
		if err := try(t, o, "ssh://root@127.0.0.1:2222"); err != nil {
			t.Errorf("%s, by a default file: %v", name, err)
		}
	}
}

func TestHostKeysThatAreRefused(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	s := startSSHD(t, "127.0.0.1:2222")
	public := strings.TrimSpace(read(t, s.HostKey+".pub"))
	line := strings.Join(strings.Fields(public)[:2], " ")
	print := "ssh-ed25519 " + fingerprint(t, s.HostKey+".pub")
	other := strings.TrimSpace(read(t, s.UserKey+".pub"))
	otherPrint := "ssh-ed25519 " + fingerprint(t, s.UserKey+".pub")
	const compared = "compare it with the output of `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host"
	unknown := "host key: the key " + print + " is unknown: " + compared + ", then add this line to PLACE: [127.0.0.1]:2222 " + line
	changed := "host key: the key has changed: " + print + " instead of " + otherPrint + ", which PLACE:1 has for the host. This may be an attack; if the host was reinstalled, " + compared + " and replace that line"
	revoked := "host key: the key " + print + " is revoked by PLACE:2: the server that uses it may not be the host"
	rsaFile := s.Key(t, "rsa", "-t", "rsa")
	for name, c := range map[string]struct{ lines, want string }{
		"unknown":                     {"other " + public, unknown},
		"nothing":                     {"\n", unknown},
		"another port":                {"[127.0.0.1]:2223 " + public, unknown},
		"the port's own":              {"127.0.0.1 " + public + "\n[127.0.0.1]:2222 " + other, strings.Replace(changed, "PLACE:1", "PLACE:2", 1)},
		"another's, without the port": {"127.0.0.1 " + other, unknown},
		"revoked, without the port":   {"127.0.0.1 " + public + "\n@revoked * " + public, revoked},
		"changed":                     {"[127.0.0.1]:2222 " + other, changed},
		"changed type":                {"[127.0.0.1]:2222 " + read(t, rsaFile+".pub"), strings.Replace(changed, otherPrint, "ssh-rsa "+fingerprint(t, rsaFile+".pub"), 1)},
		"revoked":                     {"[127.0.0.1]:2222 " + public + "\n@revoked * " + public, revoked},
		"an authority's":              {"@cert-authority * " + other, "host key: the key " + print + " has no certificate of the authority that PLACE:1 names for the host"},
		"broken":                      {"# x\n[127.0.0.1]:2222 ssh-ed25519 AAAA\nnonsense here too\n", unknown + " (2 of the known_hosts lines can't be parsed, the first is PLACE:2)"},
		"broken revocation":           {"[127.0.0.1]:2222 " + public + "\n@revoked * ssh-ed25519 AAAA", "host key: PLACE:2: this @revoked line can't be parsed: correct it"},
		"broken pattern":              {"[127.0.0.1 " + public, "host key: the known hosts can't be parsed: knownhosts: PLACE: no valid entries, line 1: address [127.0.0.1: missing port in address"},
	} {
		for place, o := range places(t, s, c.lines) {
			err := try(t, o, "ssh://root@127.0.0.1:2222")
			if want := strings.ReplaceAll(c.want, "PLACE", place); err == nil || err.Error() != want {
				t.Errorf("%s: %v\nwant %s", name, err, want)
			}
		}
	}
	o := options(t, s)
	o.KnownHosts = t.TempDir() + "/missing"
	err := try(t, o, "ssh://root@127.0.0.1:2222")
	checkStep(t, err, "host key", "the known_hosts file "+o.KnownHosts+" can't be read: no such file")
	o.KnownHosts = ""
	o.Env["HOME"] = ""
	err = try(t, o, "ssh://root@127.0.0.1:2222")
	checkStep(t, err, "host key", "is unknown", "add this line to /etc/ssh/ssh_known_hosts: ")
	o.Names = map[string]string{knownHostsVariable: "the input"}
	err = try(t, o, "ssh://root@127.0.0.1:2222")
	checkStep(t, err, "host key", "is unknown", "add this line to the input: ")
}

// places returns options with lines of known hosts in each possible place. The keys
// are the names of these places in messages.
func places(t *testing.T, s *testbed.SSHD, lines string) map[string]Options {
	t.Helper()
	file, text, standard := options(t, s), options(t, s), options(t, s)
	file.KnownHosts = write(t, t.TempDir()+"/known", lines)
	file.Env["HOME"] = home(t, map[string]string{"config": "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n", "known_hosts": strings.TrimSpace(read(t, s.KnownHosts(t)))})
	text.KnownHosts = ""
	text.Env = map[string]string{"HOME": file.Env["HOME"], knownHostsVariable: lines}
	standard.KnownHosts = ""
	standard.Env["HOME"] = home(t, map[string]string{"config": "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n", "known_hosts": lines})
	return map[string]Options{
		file.KnownHosts:    file,
		knownHostsVariable: text,
		standard.Env["HOME"] + "/.ssh/known_hosts": standard,
	}
}

func TestHostCertificates(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	// An authority of another type than the host's key.
	run(t, nil, "ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", dir+"/ca")
	run(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/host")
	run(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/other")
	run(t, nil, "ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", dir+"/rsa")
	public, ca, other := strings.TrimSpace(read(t, dir+"/host.pub")), strings.TrimSpace(read(t, dir+"/ca.pub")), strings.TrimSpace(read(t, dir+"/other.pub"))
	for i, c := range []struct {
		name  string
		args  []string // of the certificate
		lines string
		want  string // "": the login succeeds
	}{
		{"good", nil, "@cert-authority 127.0.0.* " + ca, ""},
		{"not asked for", nil, "127.0.0.* " + public, ""},
		{"of another authority, the key is known", nil, "@cert-authority * " + other + "\n127.0.0.* " + public, ""},
		{"of another authority", nil, "@cert-authority * " + other, "has no certificate of the authority that"},
		{"of another host", []string{"-n", "app2"}, "@cert-authority * " + ca, "is not valid: principal"},
		{"expired", []string{"-V", "20200101:20200102"}, "@cert-authority * " + ca, "is not valid: cert has expired"},
		{"signed with SHA-2 by an RSA key", []string{"-s", dir + "/rsa", "-t", "rsa-sha2-256"}, "@cert-authority * " + strings.TrimSpace(read(t, dir+"/rsa.pub")), ""},
		{"signed with SHA-1", []string{"-s", dir + "/rsa", "-t", "ssh-rsa"}, "@cert-authority * " + strings.TrimSpace(read(t, dir+"/rsa.pub")), "is signed with SHA-1 (ssh-rsa): sign it again"},
		{"revoked", []string{"-z", "7"}, "@cert-authority * " + ca + "\n@revoked * " + ca, "is not valid: certificate serial 7 revoked"},
	} {
		addr := fmt.Sprintf("127.0.0.%d", i+1)
		args := append([]string{"-q", "-s", dir + "/ca", "-I", "id", "-h", "-n", addr}, c.args...) // the last value of an option counts
		run(t, nil, "ssh-keygen", append(args, dir+"/host.pub")...)
		s := startSSHD(t, addr+":22", "HostKey "+dir+"/host", "HostCertificate "+dir+"/host-cert.pub")
		o := options(t, s)
		o.KnownHosts = write(t, dir+"/known", c.lines)
		err := try(t, o, "ssh://root@"+addr)
		if c.want != "" {
			checkStep(t, err, "host key", c.want, "ssh-ed25519 "+fingerprint(t, dir+"/host.pub"))
		} else if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
