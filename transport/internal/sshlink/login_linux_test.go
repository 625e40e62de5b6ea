package sshlink

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/org/portcheck/internal/testbed"
)

func TestLogin(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	dir := t.TempDir()
	s := startSSHD(t, "", "TrustedUserCAKeys "+dir+"/ca.pub")
	// sshd reads the file at each login.
	run(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/ca")
	certified := s.Key(t, "certified")
	run(t, nil, "ssh-keygen", "-q", "-s", dir+"/ca", "-I", "id", "-n", "root", certified+".pub")
	locked := s.Key(t, "locked", "-a", "1", "-N", canary)
	run(t, nil, "ssh-keygen", "-q", "-s", dir+"/ca", "-I", "id", "-n", "root", locked+".pub")
	encrypted := write(t, dir+"/encrypted", read(t, s.UserKey))
	run(t, nil, "ssh-keygen", "-q", "-p", "-a", "1", "-N", canary, "-f", encrypted)
	text := read(t, s.UserKey)
	stranger := s.Key(t, "stranger")
	unlocked := startAgent(t, stranger, s.UserKey)
	var many []string
	for _, n := range []string{"k1", "k2", "k3", "k4", "k5", "k6", "k7"} {
		many = append(many, s.Key(t, n))
	}
	strangers, crowded := startAgent(t, many...), startAgent(t, append(many, s.UserKey)...)
	forCertified := startAgent(t)
	// The agent has the key without its certificate.
	bare := write(t, dir+"/bare", read(t, locked))
	run(t, nil, "ssh-keygen", "-q", "-p", "-P", canary, "-N", "", "-f", bare)
	run(t, []string{"SSH_AUTH_SOCK=" + forCertified}, "ssh-add", "-q", bare)

	for name, c := range map[string]struct {
		env        map[string]string
		identities []string
		files      map[string]string // below ~/.ssh
	}{
		"a file":                               {identities: []string{s.UserKey}},
		"two files":                            {identities: []string{stranger, s.UserKey}},
		"a text":                               {env: map[string]string{keyVariable: text}},
		"a text and a file":                    {env: map[string]string{keyVariable: text}, identities: []string{stranger}},
		"a text of Windows":                    {env: map[string]string{keyVariable: strings.ReplaceAll(text, "\n", "\r\n")}},
		"a text without end":                   {env: map[string]string{keyVariable: " \n" + strings.TrimSpace(text)}},
		"encrypted":                            {env: map[string]string{passphraseVariable: canary}, identities: []string{encrypted}},
		"encrypted text":                       {env: map[string]string{passphraseVariable: canary + "\n", keyVariable: read(t, encrypted)}},
		"a passphrase too many":                {env: map[string]string{passphraseVariable: canary}, identities: []string{s.UserKey}},
		"a certificate":                        {identities: []string{certified}},
		"an agent":                             {env: map[string]string{"SSH_AUTH_SOCK": unlocked}},
		"an agent for a public key":            {env: map[string]string{"SSH_AUTH_SOCK": crowded}, identities: []string{s.UserKey + ".pub"}},
		"an agent for a key that is encrypted": {env: map[string]string{"SSH_AUTH_SOCK": crowded}, identities: []string{encrypted}},
		"an agent with many keys for a default file":    {env: map[string]string{"SSH_AUTH_SOCK": crowded}, files: map[string]string{"id_rsa": read(t, encrypted)}},
		"an agent with many keys beside a default file": {env: map[string]string{"SSH_AUTH_SOCK": strangers}, files: map[string]string{"id_rsa": text}},
		"an agent for a token":                          {env: map[string]string{"SSH_AUTH_SOCK": crowded}, files: map[string]string{"id_ed25519_sk": "-----BEGIN OPENSSH PRIVATE KEY-----\n", "id_ed25519_sk.pub": read(t, s.UserKey+".pub")}},
		"an agent for a certificate":                    {env: map[string]string{"SSH_AUTH_SOCK": forCertified}, identities: []string{locked}},
		"a default file":                                {files: map[string]string{"id_ed25519": text}},
		"a default file after an encrypted one":         {files: map[string]string{"id_ed25519": read(t, encrypted), "id_rsa": text}},
		"a default file though there is no agent":       {env: map[string]string{"SSH_AUTH_SOCK": dir + "/none"}, files: map[string]string{"id_ed25519": text}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, s)
			o.Identities = c.identities
			o.Env = map[string]string{"HOME": home(t, c.files)}
			maps.Copy(o.Env, c.env)
			if err := try(t, o, "ssh://root@127.0.0.1"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLoginsThatFail(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	s := startSSHD(t, "")
	dir := t.TempDir()
	user := fingerprint(t, s.UserKey+".pub")
	key := s.Key(t, "secret", "-C", canary)
	secret := dir + "/secret"
	write(t, secret, read(t, key))
	encrypted := write(t, dir+"/encrypted", read(t, key))
	run(t, nil, "ssh-keygen", "-q", "-p", "-a", "1", "-N", canary, "-f", encrypted)
	old := dir + "/old" // this format has no public key outside of the encrypted part
	run(t, nil, "ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", canary, "-f", old)
	refused := fingerprint(t, key+".pub")
	body := strings.Join(strings.Split(read(t, key), "\n")[1:3], "\n") // without BEGIN and END
	var many []string
	for _, n := range []string{"k1", "k2", "k3", "k4", "k5", "k6", "k7"} {
		many = append(many, s.Key(t, n))
	}
	seventh := fingerprint(t, many[6]+".pub")

	for name, c := range map[string]struct {
		target     string
		env        map[string]string
		identities []string
		files      map[string]string
		names      map[string]string
		want, not  []string
	}{
		"wrong user":              {target: "ssh://nobody-here@127.0.0.1", identities: []string{s.UserKey}, want: []string{"nobody-here@127.0.0.1: no key is accepted (the host accepts publickey)", "offered: " + s.UserKey + " (" + user + ")"}},
		"wrong key":               {identities: []string{secret}, want: []string{"root@127.0.0.1: no key is accepted", secret + " (" + refused + ")"}},
		"wrong key, text":         {env: map[string]string{keyVariable: read(t, key)}, want: []string{"offered: PORTCHECK_SSH_KEY (" + refused + ")"}},
		"too many":                {identities: many, want: []string{"root@127.0.0.1: ", many[5]}, not: []string{seventh}},
		"no key":                  {want: []string{"root@127.0.0.1: there is no key to offer"}},
		"encrypted":               {identities: []string{encrypted}, want: []string{encrypted + " is encrypted: set PORTCHECK_SSH_PASSPHRASE"}},
		"encrypted text":          {env: map[string]string{keyVariable: read(t, encrypted)}, want: []string{"PORTCHECK_SSH_KEY is encrypted: set PORTCHECK_SSH_PASSPHRASE"}},
		"encrypted, old":          {identities: []string{old}, want: []string{old + " is encrypted: set"}},
		"encrypted, default":      {files: map[string]string{"id_rsa": read(t, encrypted)}, want: []string{"there is no key to offer", "/.ssh/id_rsa is encrypted: set"}},
		"wrong passphrase":        {env: map[string]string{passphraseVariable: canary + "x"}, identities: []string{encrypted}, want: []string{encrypted + " can't be decrypted with the passphrase in PORTCHECK_SSH_PASSPHRASE"}},
		"wrong passphrase, old":   {env: map[string]string{passphraseVariable: canary + "x"}, identities: []string{old}, want: []string{old + " can't be decrypted with the passphrase"}},
		"missing file":            {identities: []string{dir + "/missing"}, want: []string{dir + "/missing can't be read: no such file"}},
		"a directory":             {identities: []string{dir}, want: []string{dir + " can't be read: is a directory"}},
		"a public key":            {identities: []string{key + ".pub"}, want: []string{".pub is a public key: the private one is needed"}},
		"a public key as text":    {env: map[string]string{keyVariable: read(t, key+".pub")}, want: []string{"PORTCHECK_SSH_KEY is a public key"}},
		"a public key of others":  {env: map[string]string{keyVariable: "-----BEGIN PUBLIC KEY-----\nY2FuYXJ5NWUxZg==\n-----END PUBLIC KEY-----"}, want: []string{"is a public key"}},
		"no key at all":           {env: map[string]string{keyVariable: canary}, want: []string{"PORTCHECK_SSH_KEY is not a private key"}},
		"a file's name as text":   {env: map[string]string{keyVariable: secret + "\n"}, want: []string{"PORTCHECK_SSH_KEY contains the name of a file instead of a private key: pass that name by --identity"}, not: []string{secret}},
		"a body alone":            {env: map[string]string{keyVariable: body}, want: []string{"PORTCHECK_SSH_KEY is not a private key"}},
		"a PEM of something":      {env: map[string]string{keyVariable: "-----BEGIN " + canary + "-----\nYWJj\n-----END " + canary + "-----"}, want: []string{"contains no usable private key"}},
		"a damaged key":           {env: map[string]string{keyVariable: strings.Replace(read(t, key), "A", "B", 12)}, want: []string{"PORTCHECK_SSH_KEY "}},
		"a key of PuTTY":          {env: map[string]string{keyVariable: "PuTTY-User-Key-File-3: ssh-ed25519\nComment: " + canary}, want: []string{"puttygen"}},
		"PKCS #8":                 {env: map[string]string{keyVariable: "-----BEGIN ENCRYPTED PRIVATE KEY-----\nYWJj\n-----END ENCRYPTED PRIVATE KEY-----"}, want: []string{"ssh-keygen -p"}},
		"no agent":                {env: map[string]string{"SSH_AUTH_SOCK": dir + "/none"}, want: []string{"there is no key to offer", "the agent can't be reached at SSH_AUTH_SOCK: connect: no such file"}},
		"no key, by another name": {names: map[string]string{keyVariable: "the input"}, want: []string{"there is no key to offer: set the input, or use a key file"}, not: []string{keyVariable}},
		"encrypted, another name": {names: map[string]string{keyVariable: "the input", passphraseVariable: "the other"}, env: map[string]string{keyVariable: read(t, encrypted)}, want: []string{"the input is encrypted: set the other"}, not: []string{"PORTCHECK_SSH"}},
		"the agent's other keys": {
			env: map[string]string{"SSH_AUTH_SOCK": startAgent(t, s.UserKey)}, identities: []string{encrypted},
			want: []string{"there is no key to offer", encrypted + " is encrypted: set PORTCHECK_SSH_PASSPHRASE"}, not: []string{user},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, s)
			o.Identities, o.Names = c.identities, c.names
			o.Env = map[string]string{"HOME": home(t, c.files)}
			maps.Copy(o.Env, c.env)
			target := c.target
			if target == "" {
				target = "ssh://root@127.0.0.1"
			}
			err := try(t, o, target)
			checkStep(t, err, "authentication", c.want...)
			if err == nil {
				return
			}
			for line := range strings.Lines(body) {
				if strings.Contains(err.Error(), strings.TrimSpace(line)) {
					t.Errorf("%v: has a piece of the key", err)
				}
			}
			for _, w := range c.not {
				if strings.Contains(err.Error(), w) {
					t.Errorf("%v: should not have %q", err, w)
				}
			}
		})
	}
}

func TestHostsThatWantMore(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	s := startSSHD(t, "", "PasswordAuthentication yes", "AuthenticationMethods publickey,password")
	err := try(t, options(t, s), "ssh://root@127.0.0.1")
	checkStep(t, err, "authentication", "a key was accepted, but the host also requires password")
	s = startSSHD(t, "127.0.0.2:22", "PasswordAuthentication yes", "PubkeyAuthentication no")
	err = try(t, options(t, s), "ssh://root@127.0.0.2")
	checkStep(t, err, "authentication", "the host accepts no keys, only password")
}

// brokenAgent has a key with which it never signs.
type brokenAgent struct{ agent.Agent }

func (brokenAgent) Sign(ssh.PublicKey, []byte) (*ssh.Signature, error) {
	return nil, errors.New("not today")
}

func (brokenAgent) SignWithFlags(ssh.PublicKey, []byte, agent.SignatureFlags) (*ssh.Signature, error) {
	return nil, errors.New("not today")
}

func (brokenAgent) Extension(string, []byte) ([]byte, error) {
	return nil, agent.ErrExtensionUnsupported
}

func TestAgentsThatFail(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	s := startSSHD(t, "")
	private, err := ssh.ParseRawPrivateKey([]byte(read(t, s.UserKey)))
	if err != nil {
		t.Fatal(err)
	}
	keyring := agent.NewKeyring()
	if err := keyring.Add(agent.AddedKey{PrivateKey: private, Comment: "the\x1b[31m key\n"}); err != nil {
		t.Fatal(err)
	}
	serve := func(answer func(net.Conn)) string {
		l := testbed.ListenUnix(t)
		testbed.Accept(t, l, answer)
		return l.Addr().String()
	}
	refuses := serve(func(c net.Conn) { _ = agent.ServeAgent(brokenAgent{keyring}, c) }) // ends with the client
	ended := make(chan struct{})
	silent := serve(func(c net.Conn) {
		_, _ = io.Copy(io.Discard, c)
		close(ended)
	})
	hangsUp := serve(func(net.Conn) {})

	o := options(t, s)
	o.Identities = nil
	for socket, want := range map[string][]string{
		refuses: {"root@127.0.0.1: no key is accepted", "offered: the agent's \"the\\x1b[31m key\" (" + fingerprint(t, s.UserKey+".pub"), "the agent can't sign"},
		hangsUp: {"there is no key to offer", "the agent can't list its keys"},
	} {
		o.Env["SSH_AUTH_SOCK"] = socket
		err := try(t, o, "ssh://root@127.0.0.1")
		checkStep(t, err, "authentication", want...)
	}
	o.Env["SSH_AUTH_SOCK"] = silent
	o.HandshakeTimeout = time.Second
	began := time.Now()
	err = try(t, o, "ssh://root@127.0.0.1")
	checkStep(t, err, "authentication", "no answer within 1s; unusable: the agent did not answer within 1s")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a silent agent took %s", took)
	}
	// An earlier deadline of the run's is not the host's fault either, nor is a signature.
	o.HandshakeTimeout = 30 * time.Second
	for _, socket := range []string{testbed.SilentAgent(t), testbed.LateAgent(t, keyring)} {
		o.Env["SSH_AUTH_SOCK"] = socket
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := New(o).Dial(ctx, address(t, "ssh://root@127.0.0.1"))
		cancel()
		checkStep(t, err, "authentication", "no answer in time; it may have waited for the agent at SSH_AUTH_SOCK")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is no error of the deadline", err)
		}
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the connection to the agent stays open")
	}
}

// A key is read and decrypted once for all hosts, so its file may be removed.
func TestKeysAreReadOnce(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	s := startSSHD(t, "")
	encrypted := write(t, t.TempDir()+"/k", read(t, s.UserKey))
	run(t, nil, "ssh-keygen", "-q", "-p", "-a", "1", "-N", canary, "-f", encrypted)
	o := options(t, s)
	o.Identities = []string{encrypted}
	o.Env[passphraseVariable] = canary
	d := New(o)
	for range 2 {
		l, err := d.Dial(t.Context(), address(t, "ssh://root@127.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		_ = os.Remove(encrypted) // it is already removed the second time
	}
}
