package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/org/portcheck/port"
	"gopkg.in/yaml.v3"
)

const (
	textMax  = 4096 // PATH_MAX of Linux
	labelMax = 100
	nameMax  = 63
)

// text reads a printable text that is not empty. Numbers and booleans need
// quotes, as in the schema that editors use.
func (w *walker) text(key, want string, n *yaml.Node) (string, bool) {
	s, ok := w.scalar(key, want, n)
	if !ok {
		return "", false
	}
	switch n.Tag {
	case "!!int", "!!float", "!!bool":
		w.report(n, unquoted, key, quote(s), describe(n))
		return "", false
	}
	return s, w.printable(key, want, textMax, n)
}

func (w *walker) printable(key, want string, most int, n *yaml.Node) bool {
	odd := strings.IndexFunc(n.Value, func(r rune) bool { return !unicode.IsPrint(r) })
	switch {
	case n.Value == "":
		w.report(n, emptyText, key, want)
	case utf8.RuneCountInString(n.Value) > most:
		w.report(n, longText, key, most)
	case odd >= 0:
		r, _ := utf8.DecodeRuneInString(n.Value[odd:])
		w.report(n, badText, key, quote(n.Value), r)
	default:
		return true
	}
	return false
}

// label reads an app's or a host's name.
func (w *walker) label(key string, n *yaml.Node) (string, bool) {
	s, ok := w.text(key, "a text such as shop", n)
	if ok && utf8.RuneCountInString(s) > labelMax {
		w.report(n, longText, key, labelMax)
		return "", false
	}
	return s, ok
}

// labelError says why s cannot be a label, or "".
func labelError(s string) string {
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }), !utf8.ValidString(s):
		return "it holds characters that cannot be printed"
	case utf8.RuneCountInString(s) > labelMax:
		return "it is longer than " + strconv.Itoa(labelMax) + " characters"
	}
	return ""
}

func word[S ~string](w *walker, key string, n *yaml.Node, allowed []S) (S, bool) {
	words := texts(allowed)
	s, ok := w.scalar(key, oneOf(words), n)
	if !ok {
		return "", false
	}
	if !slices.Contains(words, s) {
		w.report(n, badWord, key, quote(s), remedy(s, words))
		return "", false
	}
	return S(s), true
}

func (w *walker) protocol(key string, n *yaml.Node) (port.Protocol, bool) {
	return word(w, key, n, port.Protocols)
}

func (w *walker) expectWord(key string, n *yaml.Node) (Expect, bool) {
	return word(w, key, n, []Expect{Free, Listening, Reachable})
}

func (w *walker) severityWord(key string, n *yaml.Node) (Severity, bool) {
	return word(w, key, n, []Severity{SeverityError, SeverityWarning})
}

func (w *walker) notice(key string, n *yaml.Node) (NoticeCode, bool) {
	return word(w, key, n, NoticeCodes)
}

func (w *walker) protocolList(key string, n *yaml.Node) ([]port.Protocol, bool) {
	return oneOrMore(w, key, "tcp, udp or [tcp, udp]", n, w.protocol)
}

// notices reads a list of notice codes. It may be empty: that undoes the list
// at the top.
func (w *walker) notices(key string, n *yaml.Node) ([]NoticeCode, bool) {
	if n.Kind == yaml.SequenceNode {
		return items(w, key, n, w.notice)
	}
	w.mistyped(key, "a list of notice codes such as [ephemeral]", n)
	return nil, false
}

func (m *manifest) targetNames(key string, n *yaml.Node) ([]string, bool) {
	return list(&m.walker, key, "a list of target names such as [app1]", n, m.targetOfNeed)
}

func (w *walker) address(key string, n *yaml.Node) (port.Address, bool) {
	s, ok := w.scalar(key, addressWant, n)
	if !ok {
		return "", false
	}
	a, err := port.ParseAddress(s)
	if err != nil {
		w.report(n, badAddress, key, err)
		return "", false
	}
	return a, true
}

const addressWant = "any, any4, any6, loopback, an IP literal or a list of these"

func (w *walker) addressList(key string, n *yaml.Node) ([]port.Address, bool) {
	if len(n.Content) > maxAddresses && n.Kind == yaml.SequenceNode {
		w.report(n.Content[maxAddresses], tooManyAddresses, key)
		return nil, false
	}
	return oneOrMore(w, key, addressWant, n, w.address)
}

// overlaps reports the addresses of a list that one app cannot hold beside an
// earlier one.
func (w *walker) overlaps(n *yaml.Node) {
	if n.Kind != yaml.SequenceNode || len(n.Content) > maxAddresses {
		return
	}
	var before []port.Address
	for _, item := range n.Content {
		a, err := port.ParseAddress(item.Value)
		if item.Kind != yaml.ScalarNode || err != nil || slices.Contains(before, a) {
			continue // reported elsewhere
		}
		for _, b := range before {
			if exclude(a, b) {
				w.report(item, addressOverlap, quote(string(a)), quote(string(b)))
				break
			}
		}
		before = append(before, a)
	}
}

func exclude(a, b port.Address) bool {
	for _, e := range (port.Binding{Protocol: port.TCP, Addresses: []port.Address{a}}).At(1) {
		for _, f := range (port.Binding{Protocol: port.TCP, Addresses: []port.Address{b}}).At(1) {
			if e.Overlaps(f) {
				return true
			}
		}
	}
	return false
}

// block reads a port or a block of ports from the value's own text, so that
// none of YAML's other notations for numbers counts.
func (w *walker) block(key string, n *yaml.Node) (port.Range, bool) {
	s, ok := w.scalar(key, `a number from 1 to 65535 or a block such as "8000-8003"`, n)
	if !ok {
		return port.Range{}, false
	}
	r, err := port.ParseRange(s)
	switch {
	case err == nil:
		return r, true
	case strings.Contains(s, "-"):
		w.report(n, badBlock, key, quote(s), err)
	default:
		w.report(n, badPort, key, err)
	}
	return port.Range{}, false
}

const portsWant = "a port, a range such as 8000-8099, or a list of these"

func (w *walker) ports(key string, n *yaml.Node) (port.Set, bool) {
	set, ok := oneOrMore(w, key, portsWant, n, w.block)
	return port.Set(set), ok
}

// portsOrNone is ports, or an empty list: that undoes the list at the top.
func (w *walker) portsOrNone(key string, n *yaml.Node) (port.Set, bool) {
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		return nil, true
	}
	return w.ports(key, n)
}

func (w *walker) duration(key string, n *yaml.Node) (time.Duration, bool) {
	s, ok := w.scalar(key, "a duration such as 30s", n)
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		w.report(n, badDuration, key, quote(s))
	case d < 0:
		w.report(n, negativeWait, key, quote(s))
	default:
		return d, true
	}
	return 0, false
}

func (w *walker) boolean(key string, n *yaml.Node) (value, ok bool) {
	s, ok := w.scalar(key, "true or false", n)
	if !ok {
		return false, false
	}
	if n.Style != 0 || s != "true" && s != "false" {
		w.report(n, badBool, key, quote(s))
		return false, false
	}
	return s == "true", true
}

func (m *manifest) needName(key string, n *yaml.Node) (string, bool) {
	s, ok := m.text(key, "a name such as web", n)
	if !ok {
		return "", false
	}
	if !isName(s) {
		m.report(n, badName, key, quote(s))
		return "", false
	}
	return s, m.claim(m.names, nameTaken, n)
}

// isName says whether s is [a-z0-9][a-z0-9_.-]{0,62}.
func isName(s string) bool {
	for i, r := range s {
		letter := 'a' <= r && r <= 'z' || '0' <= r && r <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("_.-", r)) {
			return false
		}
	}
	return s != "" && len(s) <= nameMax
}

func (m *manifest) env(key string, n *yaml.Node) (string, bool) {
	s, ok := m.text(key, "a variable name such as WEB_PORT", n)
	if !ok {
		return "", false
	}
	for i, r := range s {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_'
		if !letter && (i == 0 || r < '0' || r > '9') {
			m.report(n, badEnv, quote(s))
			return "", false
		}
	}
	return s, m.claim(m.envs, envTaken, n)
}

// claim takes a name that only one need may have.
func (m *manifest) claim(taken map[string]Position, k kind, n *yaml.Node) bool {
	if at, ok := taken[n.Value]; ok {
		m.report(n, k, quote(n.Value), at.Line, at.Column)
		return false
	}
	taken[n.Value] = m.at(n)
	return true
}

// user reads a user name, or a uid as a number or a text.
func (w *walker) user(key string, n *yaml.Node) (string, bool) {
	const want = "a user name, or a number such as 1000"
	s, ok := w.scalar(key, want, n)
	if !ok || !w.printable(key, want, labelMax, n) {
		return "", false
	}
	number := n.Tag != "!!str" || strings.Trim(s, "0123456789") == ""
	if number && !isUID(s) {
		w.report(n, badUser, quote(s))
		return "", false
	}
	return s, true
}

// isUID says whether s is a user's number in its canonical text. The highest
// one means "no change" to setresuid.
func isUID(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && n < 1<<32-1 && strconv.FormatUint(n, 10) == s
}

func (w *walker) remote(key string, n *yaml.Node) (string, bool) {
	s, ok := w.text(key, "a host name or an IP address", n)
	if !ok {
		return "", false
	}
	if isHost(s) {
		return s, true
	}
	w.report(n, badRemote, quote(s))
	return "", false
}

// isHost says whether s is a host that can be connected to.
func isHost(s string) bool {
	ip, err := netip.ParseAddr(s)
	return err == nil && !ip.IsUnspecified() && !ip.IsMulticast() || isHostName(s)
}

// isHostName takes underscores, which container names have, and refuses names
// that end in a number: these are misspelt addresses.
func isHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_') {
				return false
			}
		}
	}
	return len(s) <= 253 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}
