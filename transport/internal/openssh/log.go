package openssh

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/org/portcheck/transport/internal/remote"
)

// Limits of what is kept of ssh's messages.
const (
	maxMessages = 16
	maxOffered  = 10
	maxLog      = 200 // lines
)

// messages reads what ssh -v writes to stderr: its log, its own messages, the
// host's banner and the stderr of the command. All of that can be a stranger's
// text. So it only names the step of an error and explains it; whether the host was
// reached depends on the exit status and stdout.
//
// The ssh of a ProxyJump writes to the same stderr, and its connection is made
// first.
type messages struct {
	mu      sync.Mutex
	step    string
	jumps   int // commands to reach the host that are an ssh with a log of its own
	logins  int // "Authenticated to"
	reached bool
	hostKey string   // "TYPE FINGERPRINT"
	offered []string // keys
	signs   string   // the key that the host would accept
	waits   string   // what ssh itself may wait for
	method  string   // of authentication
	tickets string   // why Kerberos was of no use
	said    string   // the first line that the host has sent, until it is seen to speak SSH
	own     []string // messages before the login
	log     []string // the last lines before the login
	stderr  *remote.Head
}

// theAgent is what ssh waits for when it lists keys, and when it signs with one.
const theAgent = "the agent (SSH_AUTH_SOCK, or IdentityAgent in the configuration)"

func newMessages() *messages { return &messages{step: "config", stderr: &remote.Head{}} }

// read reads lines until the end. Longer lines count as several.
func (m *messages) read(r io.Reader) {
	lines := bufio.NewReaderSize(r, 16<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			m.add(string(line))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (m *messages) add(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reached {
		// ssh writes its own lines also in the middle of one of the command's.
		for _, own := range []string{"debug1: ", "Transferred: sent ", "Bytes per second: "} {
			line, _, _ = strings.Cut(line, own)
		}
		_, _ = io.WriteString(m.stderr, line) // never fails
		return
	}
	text := strings.TrimRight(line, "\r\n")
	if len(m.log) == maxLog {
		m.log = m.log[1:]
	}
	m.log = append(m.log, remote.Shorten(text))
	if log, isLog := strings.CutPrefix(text, "debug1: "); isLog {
		m.debug(log)
		return
	}
	switch {
	case strings.HasPrefix(text, "Authenticated to "):
		m.login()
		return
	case strings.HasPrefix(text, "OpenSSH_"):
		return // the beginning of the log
	}
	m.message(text)
	_, _ = io.WriteString(m.stderr, line) // never fails
}

// debug handles a line of the log before the login.
func (m *messages) debug(text string) {
	word := func(prefix string) (rest string, found bool) { return strings.CutPrefix(text, prefix) }
	if command, ok := word("Executing proxy command: "); ok {
		if strings.Contains(command, " -v -W '[") {
			m.jumps++
		}
		m.step = "proxy"
		return
	}
	if key, ok := word("Offering public key: "); ok {
		m.step, m.waits = "authentication", ""
		if key = remote.Shorten(key); len(m.offered) < maxOffered {
			m.offered = append(m.offered, key)
		}
		return
	}
	if key, ok := word("Server accepts key: "); ok {
		switch m.signs = remote.Shorten(key); {
		case isSecurityKey(m.signs):
			m.waits = "a touch of the security key " + m.signs
		case strings.HasSuffix(m.signs, " agent"):
			m.waits = theAgent
		}
		return
	}
	if method, ok := word("Next authentication method: "); ok {
		m.method = method
		return
	}
	if strings.HasPrefix(text, "Authentications that can continue: ") {
		if m.usesTickets() && m.tickets == "" {
			m.tickets = "the host does not let the owner of the ticket in as this user: see the user's ~/.k5login there"
		}
	}
	if key, ok := word("Server host key: "); ok {
		m.step, m.hostKey = "host key", remote.Shorten(key)
		return
	}
	if key, ok := word("Server host certificate: "); ok {
		key, _, _ = strings.Cut(key, ", ")
		m.step, m.hostKey = "host key", remote.Shorten(key)
		return
	}
	if _, line, ok := strings.Cut(text, "_exchange_identification: "); ok && m.said == "" {
		if banner, ok := strings.CutPrefix(line, "banner line "); ok {
			_, line, _ = strings.Cut(banner, ": ")
		}
		m.said = strings.TrimSpace(line)
	}
	for _, s := range []struct{ prefix, step string }{
		{"Connecting to ", "connect"},
		{"Connection established", "handshake"},
		{"Remote protocol version ", "handshake"},
		{"Authentications that can continue: ", "authentication"},
		{"SSH2_MSG_SERVICE_ACCEPT received", "authentication"},
	} {
		if strings.HasPrefix(text, s.prefix) {
			m.step, m.said, m.waits = s.step, "", ""
		}
	}
	switch {
	case strings.HasPrefix(text, "SSH2_MSG_NEWKEYS received"): // it asks the agent before it goes on with the host
		m.waits = theAgent
	case strings.HasPrefix(text, "Will attempt key: "):
		m.waits = ""
	}
	if strings.HasPrefix(text, "mux_client_request_session: master session id") {
		m.reach()
	}
}

// login handles the login at the target, or at a jump host before it.
func (m *messages) login() {
	if m.logins++; m.logins > m.jumps {
		m.reach()
		return
	}
	m.step, m.hostKey, m.offered, m.signs, m.own = "proxy", "", nil, "", nil
	m.waits, m.method, m.tickets = "", "", ""
}

// usesTickets reports whether ssh tries to log in by Kerberos.
func (m *messages) usesTickets() bool { return strings.HasPrefix(m.method, "gssapi-") }

func (m *messages) reach() {
	m.reached, m.step = true, "session"
	m.stderr = &remote.Head{}
}

// message handles a message of ssh itself, or a line of the host's banner.
func (m *messages) message(text string) {
	text = strings.TrimPrefix(remote.Shorten(text), "ssh: ")
	if text = strings.TrimPrefix(text, "connect to "); text == "" {
		return
	}
	if len(m.own) == maxMessages {
		m.own = m.own[1:]
	}
	m.own = append(m.own, text)
	switch {
	case strings.HasPrefix(text, "Could not resolve hostname "):
		m.step = "resolve"
	case strings.HasPrefix(text, "Host key verification failed"):
		m.step = "host key"
	case strings.Contains(text, ": Permission denied ("):
		m.step = "authentication"
	case strings.HasPrefix(text, "env var "):
		m.step = "config"
	case m.usesTickets() && m.tickets == "" && !isConsequence(text): // the second line of an entry of the log
		m.tickets = text
	}
}

// lines returns the last lines before the login.
func (m *messages) lines() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.log)
}

// stderrText returns the beginning of what the command has written to stderr.
func (m *messages) stderrText() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stderr.String()
}

// current returns the step of the connection that goes on, "" after the login, and
// what it may wait for, if that is known.
func (m *messages) current() (step, waitsFor string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reached {
		return "", ""
	}
	switch {
	case m.logins < m.jumps:
		return "proxy", m.waits
	case m.waits == theAgent:
		return "authentication", m.waits
	}
	return m.step, m.waits
}

// failure returns the error of an ssh that did not run the command.
func (m *messages) failure() *remote.StepError {
	m.mu.Lock()
	defer m.mu.Unlock()
	text := m.reason()
	if m.logins < m.jumps && m.step != "config" {
		if m.step != "proxy" {
			text = m.step + ": " + text
		}
		return &remote.StepError{Step: "proxy", Err: fmt.Errorf("at the jump host: %s", text)}
	}
	return &remote.StepError{Step: m.step, Err: errors.New(text)}
}

// reason returns why the current step failed.
func (m *messages) reason() string {
	switch m.step {
	case "host key":
		if text := m.hostKeyReason(); text != "" {
			return text
		}
	case "authentication":
		return m.loginReason()
	case "session":
		return "the host did not run a command, or the connection was lost" + after(": ", remote.Shorten(m.stderr.String()))
	case "proxy": // the command's own message, which may come late, says more than ssh's
		for _, text := range m.own {
			if !strings.Contains(text, "Connection closed by ") {
				return text
			}
		}
	case "config": // what follows comes of the first
		if len(m.own) > 0 {
			return m.own[0]
		}
	}
	text := m.cause()
	switch {
	case text == "":
		return "ssh has failed and gave no reason"
	case m.step == "connect" && strings.HasSuffix(text, ": Connection refused"):
		text += remote.RefusedHint
	case m.step == "handshake" && isConsequence(text) && m.said != "":
		text = remote.NotSSH(m.said)
	case m.step == "handshake" && isConsequence(text):
		text += "; if many connect to the host at once, its MaxStartups may be too low: use --parallel with a smaller number"
	}
	return text
}

// consequences are the beginnings and ends of messages that follow from an earlier one.
var consequences = []struct{ start, end string }{
	{start: "Connection closed by "},
	{start: "Connection reset by "},
	{start: "Disconnected from "},
	{start: "kex_exchange_identification: "},
	{start: "ssh_exchange_identification: "}, // before OpenSSH 8.0
	{start: "Host key verification failed"},
	{start: "invalid environment variable expansion"},
	{end: ": failure"},
}

func isConsequence(text string) bool {
	for _, c := range consequences {
		if strings.HasPrefix(text, c.start) && strings.HasSuffix(text, c.end) {
			return true
		}
	}
	return false
}

// cause returns the last message that does not follow from another one, else the last
// one, or "" if there is none.
func (m *messages) cause() string {
	for i := len(m.own) - 1; i >= 0; i-- {
		if !isConsequence(m.own[i]) {
			return m.own[i]
		}
	}
	if len(m.own) > 0 {
		return m.own[len(m.own)-1]
	}
	return ""
}

func after(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}

// find returns the first message that contains a word, "" if there is none.
func (m *messages) find(word string) string {
	for _, text := range m.own {
		if strings.Contains(text, word) {
			return text
		}
	}
	return ""
}

// hostKeyReason returns "" if it is none of the known ones.
func (m *messages) hostKeyReason() string {
	switch {
	case m.find("Certificate invalid: ") != "":
		return fmt.Sprintf("the certificate %s is not for this host, or has expired: %s", m.hostKey, m.find("Certificate invalid: "))
	case m.find("REVOKED HOST KEY DETECTED") != "", m.find(" revoked by file ") != "":
		return fmt.Sprintf("the key %s is revoked: the server that uses it may not be the host", m.hostKey)
	case m.find("HOST IDENTIFICATION HAS CHANGED") != "":
		place := ""
		if _, at, found := strings.Cut(m.find("Offending "), " key in "); found {
			place = " instead of that in " + at
		}
		return fmt.Sprintf("the key has changed: %s%s. This may be an attack; if the host was reinstalled, compare the key with the host's own and replace that line", m.hostKey, place)
	case m.find("host key is known for") != "", len(m.own) == 1: // without a file of known hosts, ssh gives no reason
		return fmt.Sprintf("the key %s is unknown: %s", m.hostKey, remote.CompareKey(m.hostKey))
	}
	return ""
}

// unknownKey returns the fingerprint of the target's key, if it is an unknown one.
func (m *messages) unknownKey() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, fingerprint, found := strings.Cut(m.hostKey, " "); found && m.step == "host key" && m.logins == m.jumps && strings.Contains(m.hostKeyReason(), " is unknown: ") {
		return fingerprint
	}
	return ""
}

func (m *messages) loginReason() string {
	text := "the login has failed"
	if denied := m.find("Permission denied ("); denied != "" {
		text = denied
	} else if cause := m.cause(); cause != "" {
		text = cause
	}
	if len(m.offered) == 0 {
		text += "; there is no key to offer: use --identity, an agent, or IdentityFile in ~/.ssh/config"
	} else {
		text += "; offered: " + strings.Join(m.offered, ", ")
	}
	open := m.find(" are too open")
	switch {
	case open != "":
		text += "; ssh ignores a key file: " + open + " Use chmod 600"
	case m.signs != "":
		text += fmt.Sprintf("; the host accepts %s, but it can't sign%s: %s", m.signs, after(": ", m.signFailure()), signRemedy(m.signs))
	case len(m.offered) > 0:
		text += "; the host accepts none of them for this user: see the user's ~/.ssh/authorized_keys there, or name another user"
	}
	return text + after("; Kerberos: ", m.tickets)
}

// signFailure returns why the key that the host accepts did not sign, "" if ssh has
// not said it.
func (m *messages) signFailure() string {
	text := m.find("signing failed for ")
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+len(": "):]
	}
	return ""
}

// isSecurityKey reports whether a key of the log, "FILE TYPE FINGERPRINT ...", is on a
// security key.
func isSecurityKey(key string) bool {
	return strings.Contains(key, "-SK SHA256:") || strings.Contains(key, "-SK-CERT SHA256:")
}

// signRemedy returns what can be done about a key that does not sign.
func signRemedy(key string) string {
	if isSecurityKey(key) {
		return "connect the security key, or touch it in time; one that wants a PIN can't be used, because nothing asks for it"
	}
	return "if the key is encrypted, add it to an agent (ssh-add), and if the file has only the public half, name that of the private one"
}
