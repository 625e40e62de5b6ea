package overssh

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/host/wire"
	"github.com/org/portcheck/port"
)

// player is an SSH server that follows a script, because no real server is
// hostile.
type player struct {
	net.Listener
	key, known []byte // what lets portcheck log in
	play       func(*stage)
}

// stage is a command that portcheck runs on the host.
type stage struct {
	ssh.Channel
	conn    *ssh.ServerConn
	command string
	lines   *bufio.Reader
}

// startPlayer starts a player that accepts every key.
func startPlayer(t *testing.T, play func(*stage)) *player {
	t.Helper()
	slow(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	known, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // connections end with their clients
	p := &player{l, pem.EncodeToMemory(text), append([]byte("* "), ssh.MarshalAuthorizedKey(known)...), play}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c, config)
		}
	}()
	return p
}

func (p *player) target() string { return "ssh://app@" + p.Addr().String() }

func (p *player) serve(c net.Conn, config *ssh.ServerConfig) {
	defer c.Close()
	conn, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for asked := range channels {
		channel, requests, err := asked.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				var exec struct{ Command string }
				isExec := r.Type == "exec" && ssh.Unmarshal(r.Payload, &exec) == nil
				_ = r.Reply(isExec, nil) // fails if portcheck has ended
				if isExec {
					go func() {
						p.play(&stage{channel, conn, exec.Command, bufio.NewReader(channel)})
						_ = channel.Close()
					}()
				}
			}
		}()
	}
}

// say writes text and reports whether the connection is still open.
func (s *stage) say(text string) bool {
	_, err := io.WriteString(s, text)
	return err == nil
}

// leave sends the exit status of the command.
func (s *stage) leave(status byte) {
	_, _ = s.SendRequest("exit-status", false, []byte{0, 0, 0, status}) // fails if portcheck has ended
}

// receive waits for a question.
func (s *stage) receive() (q question, err error) {
	line, err := s.line()
	if err == nil {
		err = json.Unmarshal([]byte(line), &q)
	}
	return q, err
}

// line waits for the next line that is not empty.
func (s *stage) line() (string, error) {
	for {
		line, err := s.lines.ReadString('\n')
		if line = strings.TrimSpace(line); line != "" || err != nil {
			return line, err
		}
	}
}

// question is a question of the protocol.
type question struct {
	ID string
	host.Request
}

// allFree returns facts by which everything in the question is free.
func (q question) allFree() host.Facts {
	f := host.Facts{
		Machine: host.Machine{OS: "linux", Arch: "amd64", IPv6: true, Elevated: true, Namespace: host.Namespace{Kind: host.NamespaceHost}},
		Limits:  host.Limits{Ephemeral: port.Range{First: 32768, Last: 60999}, UnprivilegedFrom: 1024},
	}
	for _, t := range q.Tries {
		tried := host.Tried{TableOK: true}
		for n := range (port.Set{t.Ports}).All {
			for _, e := range t.At(n) {
				tried.Attempts = append(tried.Attempts, host.Attempt{Endpoint: e, Outcome: host.OK})
			}
		}
		f.Tried = append(f.Tried, tried)
	}
	for _, s := range q.Scans {
		f.Open = append(f.Open, s.Ports)
	}
	return f
}

// answer returns a complete answer, with its line end.
func (q question) answer(f host.Facts) string {
	text, err := json.Marshal(wire.Reply{Version: wire.Version, ID: q.ID, Facts: &f})
	if err != nil {
		panic(err)
	}
	return string(text) + "\n"
}

const ready = "\nportcheck-ready 4\n"

// answering returns the play of a portcheck that changes each of its answers.
func answering(change func(q question, f *host.Facts)) func(*stage) {
	return saying(func(q question) string {
		f := q.allFree()
		change(q, &f)
		return q.answer(f)
	})
}

// saying returns the play of a portcheck that answers with any text.
func saying(answer func(question) string) func(*stage) {
	return func(s *stage) {
		for s.say(ready); ; {
			q, err := s.receive()
			if errors.Is(err, io.EOF) {
				s.leave(0)
				return
			}
			if err != nil || !s.say(answer(q)) {
				return
			}
		}
	}
}

// check runs portcheck with the player as its target.
func (p *player) check(t *testing.T, args ...string) run {
	t.Helper()
	return p.checkBy(t, "builtin", args...)
}

// checkBy is check by one of the SSH clients.
func (p *player) checkBy(t *testing.T, client string, args ...string) run {
	t.Helper()
	env := []string{"PORTCHECK_SSH_KEY=" + string(p.key), "PORTCHECK_SSH_KNOWN_HOSTS=" + string(p.known)}
	if client == "openssh" {
		key := write(t, "key", string(p.key))
		if err := os.Chmod(key, 0o600); err != nil {
			t.Fatal(err)
		}
		env, args = nil, append(slices.Clone(args), "-i", key, "--known-hosts", write(t, "known_hosts", string(p.known)))
	}
	args = append(args, "--ssh", client)
	return portcheck(t, env, append([]string{"-t", p.target(), "-p", "8080", "--range", "20000-20009"}, args...)...)
}

// checkUnknown fails the test unless the status is unknown, for a reason of one
// line without control characters.
func (r run) checkUnknown(t *testing.T, reason string) {
	t.Helper()
	line, _, _ := strings.Cut(r.stdout, "\n")
	if r.code != 3 || !strings.HasSuffix(line, "[unknown]") || !strings.Contains(line, reason) || strings.Contains(r.stdout, "is free") {
		t.Errorf("exit code %d, want unknown for %q:\n%.3000s%.1000s", r.code, reason, r.stdout, r.stderr)
	}
	r.checkBounded(t)
}

// checkBounded fails the test for raw control characters in the output, or if the
// program used too much memory.
func (r run) checkBounded(t *testing.T) {
	t.Helper()
	checkInert(t, "stdout", r.stdout)
	checkInert(t, "stderr", r.stderr)
	if r.memory > 150<<20 {
		t.Errorf("it took %d MB of memory", r.memory>>20)
	}
}

// checkInert fails the test for raw control characters and commands of CI systems.
func checkInert(t *testing.T, what, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.Contains(line, "##vso") || strings.Contains(line, "##teamcity[") {
			t.Errorf("%s has a command: %.300q", what, line)
		}
		if i := strings.IndexFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 || r == 0x202e }); i >= 0 {
			t.Errorf("%s has a raw control character: %.300q", what, line[max(i-100, 0):])
		}
	}
}

func comma(n int, part string) string { return strings.TrimSuffix(strings.Repeat(part+",", n), ",") }

func sprint(q question, format string) string { return fmt.Sprintf(format, q.ID) }
