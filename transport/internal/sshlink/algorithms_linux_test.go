package sshlink

import (
	"fmt"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// TestHostsThatOfferSHA1 checks that a host with nothing but SHA-1 for one purpose
// is refused at the step that needs it, and that any other host is not.
func TestHostsThatOfferSHA1(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	rsa := dir + "/rsa"
	run(t, nil, "ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", rsa)
	const noMoreSHA1 = "; SHA-1 is not accepted: let the host's SSH server offer newer algorithms"
	for i, c := range []struct {
		name     string
		settings []string
		want     []string // of the error at the step handshake; none if the login succeeds
	}{
		{"defaults", nil, nil},
		{"key exchange", []string{"KexAlgorithms diffie-hellman-group14-sha1,diffie-hellman-group1-sha1,diffie-hellman-group-exchange-sha1"}, []string{"no common algorithm for key exchange", "diffie-hellman-group14-sha1", noMoreSHA1}},
		{"key exchange, one is newer", []string{"KexAlgorithms diffie-hellman-group14-sha1,diffie-hellman-group14-sha256"}, nil},
		{"key exchange, groups of the host", []string{"KexAlgorithms diffie-hellman-group-exchange-sha256"}, nil},
		// The newer ciphers authenticate their messages by themselves.
		{"MAC", []string{"Ciphers aes128-ctr", "MACs hmac-sha1,hmac-sha1-96,hmac-sha1-etm@openssh.com"}, []string{"no common algorithm for ", " MAC", "hmac-sha1", noMoreSHA1}},
		{"MAC, one is newer", []string{"Ciphers aes128-ctr", "MACs hmac-sha1,hmac-sha2-256"}, nil},
		{"host key", []string{"HostKey " + rsa, "HostKeyAlgorithms ssh-rsa"}, []string{"no common algorithm for host key", "ssh-rsa", noMoreSHA1}},
		{"host key, its signature is newer", []string{"HostKey " + rsa, "HostKeyAlgorithms ssh-rsa,rsa-sha2-512"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := fmt.Sprintf("127.0.0.%d", i+1)
			s := startSSHD(t, addr+":22", c.settings...)
			o := options(t, s)
			o.KnownHosts = write(t, t.TempDir()+"/known", addr+" "+read(t, s.HostKey+".pub")+addr+" "+read(t, rsa+".pub"))
			err := try(t, o, "ssh://root@"+addr)
			if len(c.want) > 0 {
				checkStep(t, err, "handshake", c.want...)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRSAKeysSignWithSHA2 checks that an RSA key, its certificate and an agent sign
// with SHA-2, and never with SHA-1, even if the host accepts nothing else.
func TestRSAKeysSignWithSHA2(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	run(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/ca")
	old := startSSHD(t, "127.0.0.1:22", "PubkeyAcceptedAlgorithms ssh-rsa,ssh-rsa-cert-v01@openssh.com,ssh-ed25519", "TrustedUserCAKeys "+dir+"/ca.pub")
	today := startSSHD(t, "127.0.0.2:22", "TrustedUserCAKeys "+dir+"/ca.pub")
	for name, s := range map[string]*testbed.SSHD{"127.0.0.1": old, "127.0.0.2": today} {
		key := s.Key(t, "rsa", "-t", "rsa", "-b", "2048")
		certified := s.Key(t, "certified", "-t", "rsa", "-b", "2048")
		run(t, nil, "ssh-keygen", "-q", "-s", dir+"/ca", "-I", "id", "-n", "root", certified+".pub")
		// sshd reads the file at each login.
		write(t, s.UserKey+".pub", read(t, key+".pub"))
		run(t, nil, "chmod", "644", s.UserKey+".pub")
		file, certificate, agent := options(t, s), options(t, s), options(t, s)
		file.Identities, certificate.Identities, agent.Identities = []string{key}, []string{certified}, nil
		agent.Env["SSH_AUTH_SOCK"] = startAgent(t, key)
		for kind, o := range map[string]Options{"file": file, "certificate": certificate, "agent": agent} {
			err := try(t, o, "ssh://root@"+name)
			if s == old {
				checkStep(t, err, "authentication", "no key is accepted", "; RSA keys sign with SHA-2 only (rsa-sha2-256, rsa-sha2-512)")
			} else if err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
}
