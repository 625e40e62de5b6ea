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

// text reads printable text that is not empty. Numbers and booleans need quotes,
// as in the JSON Schema.
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

// printable reports whether a value is printable text of 1 to limit characters.
// If it is not, it adds a problem.
func (w *walker) printable(key, want string, limit int, n *yaml.Node) bool {
	odd := strings.IndexFunc(n.Value, func(r rune) bool { return !unicode.IsPrint(r) })
	switch {
	case n.Value == "":
		w.report(n, emptyText, key, want)
	case utf8.RuneCountInString(n.Value) > limit:
		w.report(n, longText, key, limit)
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
	s, ok := w.text(key, "text such as shop", n)
	if ok && utf8.RuneCountInString(s) > labelMax {
		w.report(n, longText, key, labelMax)
		return "", false
	}
	return s, ok
}

// labelError returns why s cannot be a label, or "" if it can.
func labelError(s string) string {
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }), !utf8.ValidString(s):
		return "it contains characters that are not printable"
	case utf8.RuneCountInString(s) > labelMax:
		return "it is longer than " + strconv.Itoa(labelMax) + " characters"
	}
	return ""
}

// word reads one of the allowed words.
func word[S ~string](w *walker, key string, n *yaml.Node, allowed []S) (S, bool) {
	words := texts(allowed)
	s, ok := w.scalar(key, oneOf(words), n)
	if !ok {
		return "", false
	}
	if !slices.Contains(words, s) {
		w.report(n, badWord, key, quote(s), correction(s, words))
		return "", false
	}
	return S(s), true
}

func (w *walker) protocol(key string, n *yaml.Node) (port.Protocol, bool) {
	return word(w, key, n, port.Protocols)
}

func (w *walker) expectWord(key string, n *yaml.Node) (Expect, bool) {
	return word(w, key, n, expects)
}

func (w *walker) severityWord(key string, n *yaml.Node) (Severity, bool) {
	return word(w, key, n, Severities)
}

func (w *walker) notice(key string, n *yaml.Node) (NoticeCode, bool) {
	return word(w, key, n, NoticeCodes)
}

func (w *walker) protocolList(key string, n *yaml.Node) ([]port.Protocol, bool) {
	return oneOrMore(w, key, "tcp, udp or [tcp, udp]", n, w.protocol)
}

// notices reads a list of notice codes. An empty one overrides the list at the
// top of the manifest.
func (w *walker) notices(key string, n *yaml.Node) ([]NoticeCode, bool) {
	if n.Kind == yaml.SequenceNode {
		return items(w, key, n, w.notice)
	}
	w.reportWrongType(key, "a list of notice codes such as [ephemeral]", n)
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

// reportOverlaps reports each address of a list that one app cannot bind together
// with an earlier one.
func (w *walker) reportOverlaps(n *yaml.Node) {
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
			if overlap(a, b) {
				w.report(item, addressOverlap, quote(string(a)), quote(string(b)))
				break
			}
		}
		before = append(before, a)
	}
}

// overlap reports whether one app cannot bind both addresses.
func overlap(a, b port.Address) bool {
	for _, e := range (port.Binding{Protocol: port.TCP, Addresses: []port.Address{a}}).At(1) {
		for _, f := range (port.Binding{Protocol: port.TCP, Addresses: []port.Address{b}}).At(1) {
			if e.Overlaps(f) {
				return true
			}
		}
	}
	return false
}

// block reads a port or a block of ports. It parses the value's text, so that
// YAML's other notations for numbers are not accepted.
func (w *walker) block(key string, n *yaml.Node) (port.Range, bool) {
	want := `a number from 1 to 65535 or a block such as "8000-8003"`
	if key == "port" {
		want = `a number from 1 to 65535, a block such as "8000-8003", or auto`
	}
	switch {
	case isTemplate(n):
		w.report(n, templatePort, key, noInterpolation)
		return port.Range{}, false
	case key == "port" && n.Kind == yaml.SequenceNode:
		w.report(n, listOfPorts, key)
		return port.Range{}, false
	}
	s, ok := w.scalar(key, want, n)
	if !ok {
		return port.Range{}, false
	}
	r, err := port.ParseRange(s)
	if err == nil {
		return r, true
	}
	hint := portHint(key, s)
	switch {
	case hint != "":
		w.report(n, mistakenPort, key, quote(s), hint)
	case strings.Contains(s, "-") && !strings.HasPrefix(err.Error(), quote(s)): // which says it all
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

// portsOrNone reads ports or an empty list, which overrides the list at the top
// of the manifest.
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
	case d > MostDuration:
		w.report(n, longDuration, key, quote(s))
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

// optional reads a boolean that differs from none.
func (w *walker) optional(key string, n *yaml.Node) *bool {
	if b, ok := w.boolean(key, n); ok {
		return &b
	}
	return nil
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

// isName reports whether s matches [a-z0-9][a-z0-9_.-]{0,62}.
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
	if ReservedEnv(s) {
		m.report(n, reservedEnvName, quote(s))
		return "", false
	}
	return s, m.claim(m.envs, envTaken, n)
}

// device reads the name of a network interface. The kernel's rules are those of
// dev_valid_name; a number would be an interface's index.
func (m *manifest) device(key string, n *yaml.Node) (string, bool) {
	s, ok := m.text(key, "the name of a network interface such as eth1", n)
	if !ok {
		return "", false
	}
	blank := func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' }
	if len(s) > 15 || s == "." || s == ".." || strings.ContainsFunc(s, blank) || strings.Trim(s, "0123456789") == "" {
		m.report(n, badDevice, key, quote(s))
		return "", false
	}
	return s, true
}

// claim reports whether no earlier need has the name. If one has, it adds a
// problem.
func (m *manifest) claim(taken map[string]Position, k kind, n *yaml.Node) bool {
	if at, ok := taken[n.Value]; ok {
		m.report(n, k, quote(n.Value), at.Line, at.Column)
		return false
	}
	taken[n.Value] = m.at(n)
	return true
}

// user reads a user name, or a uid as a number or text.
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

// IsUser reports whether s is the name of a user, or a user ID in canonical form.
func IsUser(s string) bool {
	printable := !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
	return s != "" && len(s) <= labelMax && printable && (strings.Trim(s, "0123456789") != "" || isUID(s))
}

// isUID reports whether s is a user ID in canonical form. The highest number is not
// a user ID: setresuid(2) takes it for "no change".
func isUID(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && n < 1<<32-1 && strconv.FormatUint(n, 10) == s
}

// connectTimeout reads a duration above 0.
func (w *walker) connectTimeout(key string, n *yaml.Node) (time.Duration, bool) {
	d, ok := w.duration(key, n)
	if ok && d == 0 {
		w.report(n, zeroTimeout, key)
		return 0, false
	}
	return d, ok
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

// IsRemote reports whether s is a host that can be connected to.
func IsRemote(s string) bool { return isHost(s) }

// isHost reports whether s is a host that can be connected to.
func isHost(s string) bool {
	ip, err := netip.ParseAddr(s)
	return err == nil && !ip.IsUnspecified() && !ip.IsMulticast() || isHostName(s)
}

// isHostName reports whether s is a host name. Underscores are allowed, since
// names of containers have them. A last label of digits is not: such a name is a
// mistyped address.
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
