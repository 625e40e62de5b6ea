package overssh

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
	reports "github.com/org/portcheck/report"
)

const ansi = "\x1b[2J\x1b[31m\r\n::error::gone\x00\u202e##vso[task.complete]##teamcity[x 'y']"

// TestHostilePortchecks checks that invalid output of the program on a host is
// never taken for an answer, and that the run stays within its timeout and in
// little memory. A known host key proves nothing about the output.
func TestHostilePortchecks(t *testing.T) {
	facts := func(change func(*host.Facts)) func(*stage) {
		return answering(func(_ question, f *host.Facts) { change(f) })
	}
	held := func(change func(*host.Socket)) func(*stage) {
		return facts(func(f *host.Facts) {
			s := host.Socket{Endpoint: f.Tried[0].Attempts[0].Endpoint, State: host.Listen, Holders: []host.Holder{{PID: 1}}}
			change(&s)
			f.Sockets = append(f.Sockets, s)
		})
	}
	for name, c := range map[string]struct {
		play   func(*stage)
		reason string
	}{
		"a line without end": {func(s *stage) {
			s.say(ready)
			_, _ = s.receive()
			for s.say(strings.Repeat("x", 32<<10)) {
			}
		}, "probe: the probe's answer: it is larger than 4194304 bytes"},
		"lines without end": {func(s *stage) {
			s.say(ready)
			_, _ = s.receive()
			for s.say(strings.Repeat("{}\n", 10<<10)) {
			}
		}, "probe: the probe uses version 0 of the protocol"},
		"garbage":        {saying(func(question) string { return ansi + "\n" }), "probe: the probe's answer can't be parsed: "},
		"no answer":      {func(s *stage) { s.say(ready); _, _ = s.receive(); s.leave(0) }, "probe: the probe ended without an answer"},
		"half an answer": {func(s *stage) { s.say(ready); _, _ = s.receive(); s.say(`{"version":4,`); s.leave(0) }, "probe: the probe ended in the middle of its answer"},
		"huge numbers": {saying(func(q question) string {
			return sprint(q, `{"version":4,"id":%q,"facts":{"machine":{"uid":1e400}}}`+"\n")
		}), "probe: the probe's answer can't be parsed: "},
		"a port too high": {saying(func(q question) string {
			return sprint(q, `{"version":4,"id":%q,"facts":{"tried":[{"attempts":[{"port":73616}]}]}}`+"\n")
		}), "probe: the probe's answer can't be parsed: "},
		"fields twice": {saying(func(q question) string {
			return strings.TrimSuffix(q.answer(q.allFree()), "}\n") + `,"facts":{"tried":[],"open":[]}}` + "\n"
		}), "does not match the request"},
		"nested": {saying(func(question) string { return strings.Repeat("[", 100_000) + "\n" }), "probe: the probe's answer can't be parsed: "},
		"a million parts": {saying(func(q question) string {
			return sprint(q, `{"version":4,"id":%q,"facts":{"sockets":[{"holders":[`) + comma(1_000_000, "{}") + "]}]}}\n"
		}), "probe: the probe's answer: 1000005 structs and lists"},
		"a million parts of nothing": {saying(func(q question) string {
			return sprint(q, `{"version":4,"id":%q,"facts":{"tried":[`) + comma(800_000, "null") + "]}}\n"
		}), "probe: the probe's answer: 800003 structs and lists"},
		"as many parts as may be": {saying(func(q question) string {
			return sprint(q, `{"version":4,"id":%q,"facts":{"sockets":[{"holders":[`) + comma(139_000, `{"pid":1}`) + "]}]}}\n"
		}), "does not match the request"},
		"a million empty texts": {saying(func(q question) string {
			return sprint(q, `{"version":4,"id":%q,"facts":{"sockets":[{"holders":[{"command":[`) + comma(1_300_000, `""`) + "]}]}]}}\n"
		}), "does not match the request"},
		"the range without end": {saying(func(q question) string {
			return strings.Replace(q.answer(q.allFree()), `"open":[[`, `"open":[[`+comma(130_000, `{"first":1,"last":65535}`)+",", 1)
		}), "does not match the request"},
		"another port":         {facts(func(f *host.Facts) { f.Tried[0].Attempts[0].Port = 8081 }), "does not match the request: it lacks the attempt for tcp [::]:8080, or has another in its place"},
		"another address":      {facts(func(f *host.Facts) { f.Tried[0].Attempts[0].Addr = netip.IPv6Loopback() }), "does not match the request"},
		"a port more":          {facts(func(f *host.Facts) { f.Tried[0].Attempts = append(f.Tried[0].Attempts, f.Tried[0].Attempts[0]) }), "does not match the request"},
		"an answer more":       {facts(func(f *host.Facts) { f.Tried = append(f.Tried, f.Tried[0]) }), "does not match the request"},
		"other ports are free": {facts(func(f *host.Facts) { f.Open[0] = port.Set{port.One(22)} }), "does not match the request: it has open ports outside of 20000-20009"},
		"an unknown outcome":   {facts(func(f *host.Facts) { f.Tried[0].Attempts[0].Outcome = "free" + ansi }), "does not match the request: it has the unknown outcome"},
		"an unknown state":     {held(func(s *host.Socket) { s.State = "asleep" + ansi }), "does not match the request: it has an impossible socket"},
		"an unknown namespace": {facts(func(f *host.Facts) { f.Machine.Namespace.Kind = ansi }), "does not match the request: it has the unknown kind of namespace"},
		"a process -1":         {held(func(s *host.Socket) { s.Holders[0].PID = -1 }), "does not match the request: it has an impossible holder: process -1"},
		"an unasked answer": {func(s *stage) {
			s.say(ready + question{}.answer(host.Facts{}))
			_, _ = s.receive()
		}, "probe: the probe's answer is to another request"},
		"an answer too early, then the right one": {func(s *stage) {
			s.say(ready + `{"version":4,"facts":{}}` + "\n")
			if q, err := s.receive(); err == nil {
				s.say(q.answer(q.allFree()))
			}
		}, "probe: the probe's answer is to another request"},
		"an error": {saying(func(q question) string {
			return sprint(q, `{"version":4,"id":%q,"error":"\u001b[2J\n::error::x"}`+"\n")
		}), `probe: \x1b[2J\n::error::x`},
		"megabytes on stderr": {func(s *stage) {
			s.say(ready)
			for range 640 {
				_, _ = s.Stderr().Write([]byte(strings.Repeat(ansi, 2<<10)))
			}
			s.leave(1)
		}, "probe: the probe ended without an answer; stderr of the host: "},
		"another version": {func(s *stage) { s.say("\nportcheck-ready 1" + ansi) }, "start: /opt/portcheck (--remote-path) uses version"},
		"noise without end": {func(s *stage) {
			for s.say(ansi) {
			}
		}, "start: /opt/portcheck (--remote-path) is not a portcheck executable that answers: more than 65536 bytes of output without a reply"},
		"hung up": {func(s *stage) { _ = s.conn.Close() }, "start: /opt/portcheck (--remote-path) is not a portcheck executable that answers: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPlayer(t, c.play)
			for _, client := range []string{"builtin", "openssh"} {
				reason := c.reason
				if client == "openssh" && name == "hung up" {
					reason = "session: the host did not run a command, or the connection was lost: "
				}
				p.checkBy(t, client, "--remote-path", "/opt/portcheck").checkUnknown(t, reason)
			}
		})
	}
}

// TestHostileSlowness checks that the timeout ends a run at every step.
func TestHostileSlowness(t *testing.T) {
	drip := func(s *stage, text string) {
		for s.say(text) {
			time.Sleep(100 * time.Millisecond)
		}
	}
	receive := func(s *stage, then func()) {
		s.say("\nportcheck-hello Linux x86_64\n")
		if _, err := s.line(); err == nil {
			s.say("portcheck-send\n")
			then()
		}
	}
	installed := []string{"--remote-path", "/opt/portcheck"}
	for name, c := range map[string]struct {
		args   []string
		play   func(*stage)
		reason string
	}{
		"an answer":      {installed, func(s *stage) { s.say(ready); drip(s, "{") }, "could not be checked: no answer within 2s (--timeout)"},
		"silence":        {installed, func(s *stage) { drip(s, "") }, "could not be reached within 2s (--timeout): start: no answer in time"},
		"a line":         {installed, func(s *stage) { drip(s, "p") }, "could not be reached within 2s (--timeout): start: no answer in time"},
		"noise":          {installed, func(s *stage) { drip(s, "welcome\n") }, "could not be reached within 2s (--timeout): start: no answer in time"},
		"a hello":        {nil, func(s *stage) { drip(s, "\n") }, "could not be reached within 2s (--timeout): start: no answer in time"},
		"taking nothing": {nil, func(s *stage) { receive(s, func() { select {} }) }, "could not be reached within 2s (--timeout): transfer: no answer in time"},
		"what is read of it": {nil, func(s *stage) {
			if strings.HasPrefix(s.command, "cat ") {
				drip(s, "x")
			}
			s.leave(1)
		}, "could not be reached within 2s (--timeout): start: no answer in time"},
		"one byte of it at a time": {nil, func(s *stage) {
			receive(s, func() {
				for _, err := s.lines.ReadByte(); err == nil; _, err = s.lines.ReadByte() {
					time.Sleep(10 * time.Millisecond)
				}
			})
		}, "could not be reached within 2s (--timeout): transfer: no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPlayer(t, c.play)
			for _, client := range []string{"builtin", "openssh"} {
				r := p.checkBy(t, client, append(c.args, "--timeout", "2s")...)
				r.checkUnknown(t, c.reason)
				if r.took > 5*time.Second {
					t.Errorf("%s: it took %s", client, r.took)
				}
			}
		})
	}
}

// TestHostileBootstraps checks hosts that answer the bootstrap script wrongly, and
// then have no useful files either.
func TestHostileBootstraps(t *testing.T) {
	refuse := func(s *stage) { _, _ = s.Stderr().Write([]byte(ansi)); s.leave(1) }
	hello := func(text string) func(*stage) {
		return func(s *stage) {
			if !strings.HasPrefix(s.command, "exec sh") {
				refuse(s)
				return
			}
			s.say(text)
			if line, _ := s.line(); strings.Contains(text, "..") && line != "" && line != "plain cat /proc/net/tcp" {
				t.Errorf("a path is answered with %q", line)
			}
			s.leave(1)
		}
	}
	byScript := func(text string) func(*stage) {
		return func(s *stage) {
			s.say("\nportcheck-hello Linux riscv64\n")
			if line, _ := s.line(); line == "plain cat /proc/net/tcp" {
				s.say("portcheck-text\n")
			}
			for s.say(text) && len(text) > 1000 {
			}
			s.leave(1)
		}
	}
	for name, c := range map[string]struct {
		play   func(*stage)
		reason string
	}{
		"the script's files without end": {byScript(strings.Repeat("0\n", 10<<10)), "and the fallback, /proc/net/tcp, can't be read (the command wrote more than 4194304 bytes)"},
		"the script's files in one line": {byScript(strings.Repeat("0", 10<<10)), "and the fallback, /proc/net/tcp, can't be read (the command wrote more than 4194304 bytes)"},
		"a status of the script's":       {byScript("portcheck-done x" + ansi + "\n"), "and the fallback, /proc/net/tcp, can't be read (unexpected status "},
		"a failure by the script":        {byScript(ansi + "\nportcheck-done 1\n"), "and the fallback, /proc/net/tcp, can't be read (exit status 1: "},
		"the script's end":               {byScript("0\n"), "transfer: the connection was lost: session: "},
		"a system of its own":            {hello("\nportcheck-hello " + ansi + strings.Repeat("x", 10_000) + "\n"), "transfer: there is no portcheck executable for a system named"},
		"a path for a system":            {hello("\nportcheck-hello Linux x/../../../../../../../../../../etc/passwd\n"), "transfer: there is no portcheck executable for a system named \"linux/x/.."},
		"no system":                      {hello("\nportcheck-hello \n"), "transfer: the host's system is unknown: uname does not run there"},
		"ready for nothing":              {hello("\nportcheck-ready 4\n"), `start: unexpected reply "ready 4"`},
		"an end for nothing":             {hello("\nportcheck-hello Linux x86_64\nportcheck-end 0" + ansi + "\n"), "transfer: the portcheck executable could not be run on the host (exit status 0"},
		"run before it was sent":         {hello("\nportcheck-hello Linux x86_64\nportcheck-send\nportcheck-run\nportcheck-ready 7\n"), `transfer: the portcheck that was sent uses version "7"`},
		"files without end": {func(s *stage) {
			for strings.HasPrefix(s.command, "cat ") && s.say(strings.Repeat("0\n", 10<<10)) {
			}
			s.leave(1)
		}, "start: the host does not run portcheck's commands: a forced command, no shell, or a startup file that exits, and the fallback, /proc/net/tcp, can't be read (the command wrote more than 4194304 bytes)"},
		"files of nonsense": {func(s *stage) {
			if strings.HasPrefix(s.command, "cat ") {
				s.say(strings.Repeat(ansi, 1000) + "\n")
				s.leave(0)
				return
			}
			s.leave(1)
		}, "can't be read (its first line is missing)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPlayer(t, c.play)
			for _, client := range []string{"builtin", "openssh"} {
				p.checkBy(t, client).checkUnknown(t, c.reason)
			}
		})
	}
}

// TestHostileNames checks that every format shows names from a host as plain text,
// whatever their length and number.
func TestHostileNames(t *testing.T) {
	formats := reports.Names()
	holder := host.Holder{PID: 1, Process: ansi, Executable: "/" + ansi, User: ansi, Unit: ansi, Container: ansi, Command: []string{ansi}, Unseen: []string{ansi}}
	holder.ContainerInfo = &host.ContainerInfo{Name: ansi, Image: ansi, Compose: ansi, Service: ansi}
	for name, holders := range map[string][]host.Holder{
		"hostile names": {holder},
		"very long":     {{PID: math.MaxInt, Process: strings.Repeat(ansi, 10_000)}},
		"very many":     make([]host.Holder, host.MostHolders),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range holders {
				holders[i].PID = max(holders[i].PID, i+1)
			}
			p := startPlayer(t, answering(func(_ question, f *host.Facts) {
				if len(f.Tried) == 0 || f.Tried[0].Attempts[0].Port != 8080 {
					return
				}
				f.Machine.OS, f.Machine.Namespace.Reason = ansi, ansi
				f.Tried[0].Attempts[0].Outcome, f.Tried[0].Attempts[0].Op, f.Tried[0].Attempts[0].Errno = host.InUse, ansi, ansi
				f.Gaps = []host.Gap{{What: ansi, Op: ansi, Errno: ansi}, {What: ansi, Kind: host.GapHolders}, {What: ansi, Kind: host.GapNamespace}}
				f.Sockets = []host.Socket{{Endpoint: f.Tried[0].Attempts[0].Endpoint, State: host.Listen, Inode: 1, Holders: holders}}
			}))
			formats := formats
			if len(holders) > 1 {
				formats = []string{"text", "json", "html"} // these are enough for long lists
			}
			dir := t.TempDir()
			args := []string{"--remote-path", "/opt/portcheck", "--show-command"}
			for _, f := range formats {
				args = append(args, "-o", fmt.Sprintf("%s=%s", f, filepath.Join(dir, f)))
			}
			r := p.check(t, args...)
			line, _, _ := strings.Cut(r.stdout, "\n")
			if r.code != 1 || !strings.Contains(line, "tcp 8080 is in use by") {
				t.Errorf("exit code %d\n%.2000s%.1000s", r.code, r.stdout, r.stderr)
			}
			r.checkBounded(t)
			for _, f := range formats {
				text, err := os.ReadFile(filepath.Join(dir, f))
				if err != nil {
					t.Fatal(err)
				}
				checkInert(t, f, string(text))
				for line := range strings.Lines(string(text)) {
					if strings.HasPrefix(line, "::error::gone") {
						t.Errorf("%s has a command: %.200q", f, line)
					}
				}
			}
			t.Logf("%d MB, %s", r.memory>>20, r.took)
		})
	}
}

// TestHostileChannels checks that a host can't open a channel to the client.
func TestHostileChannels(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	refused := map[string]bool{}
	honest := answering(func(question, *host.Facts) {})
	p := startPlayer(t, func(s *stage) {
		for _, kind := range []string{"session", "direct-tcpip", "forwarded-tcpip", "forwarded-streamlocal@openssh.com", "x11", "auth-agent@openssh.com", "auth-agent", "tun@openssh.com"} {
			payload := ssh.Marshal(struct {
				Host       string
				Port       uint32
				From       string
				OriginPort uint32
			}{"127.0.0.1", 22, "127.0.0.1", 1})
			_, _, err := s.conn.OpenChannel(kind, payload)
			mu.Lock()
			refused[kind] = err != nil
			mu.Unlock()
		}
		for _, kind := range []string{"tcpip-forward", "hostkeys-00@openssh.com", "keepalive@openssh.com"} {
			ok, _, err := s.conn.SendRequest(kind, true, nil)
			mu.Lock()
			refused[kind] = err == nil && !ok
			mu.Unlock()
		}
		honest(s)
	})
	if r := p.check(t, "--remote-path", "/opt/portcheck"); r.code != 0 || !strings.Contains(r.stdout, "1 ok") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(refused) != 11 {
		t.Errorf("%v", refused)
	}
	for kind, no := range refused {
		if !no {
			t.Errorf("%s was granted", kind)
		}
	}
}
