package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// Target is where needs are checked, parsed from the text of a manifest or of
// --target.
type Target struct {
	Kind string     // the Name of one of TargetKinds
	Name string     // of a container
	SSH  SSHAddress // of a host
}

// SSHAddress is [USER@]HOST[:PORT]. Parts that are not given are empty.
type SSHAddress struct{ User, Host, Port string }

// TargetKind is one kind of target. Help, completions, error messages and the test of
// the manifest's schema take their words from TargetKinds.
type TargetKind struct {
	Name    string
	Syntax  string // for people: "container:NAME"
	Example string // a target of this kind
	// Connects is true if the text of a target names the machine that is connected
	// to, or the container that is joined, so that the author of the text chooses
	// from where probes are made.
	Connects bool
	Prefix   string // of the text; the whole text if nothing may follow

	parse func(t *Target, rest string) error // nil if nothing may follow
}

// TargetKinds lists every kind of target. The transport package has an opener
// for each but auto.
var TargetKinds = []TargetKind{
	{Name: "auto", Syntax: "auto", Example: "auto", Prefix: "auto"},
	{Name: "local", Syntax: "local", Example: "local", Prefix: "local"},
	{Name: "runner", Syntax: "runner", Example: "runner", Prefix: "runner"},
	{Name: "job", Syntax: "job", Example: "job", Prefix: "job"},
	{Name: "container", Syntax: "container:NAME", Example: "container:shop-web-1", Connects: true, Prefix: "container:", parse: parseContainer},
	{Name: "ssh", Syntax: sshSyntax, Example: "ssh://deploy@app1:22", Connects: true, Prefix: "ssh://", parse: parseSSH},
}

const (
	sshSyntax  = "ssh://[USER@]HOST[:PORT]"
	maxSSHHost = 253 // bytes of a DNS name
	maxSSHUser = 255
)

// TargetSyntax returns the syntax of every kind: "auto, local or container:NAME".
func TargetSyntax() string {
	var all []string
	for _, k := range TargetKinds {
		all = append(all, k.Syntax)
	}
	return oneOf(all)
}

// errPassword is the error for a URL with a password. It does not repeat the URL,
// since logs may be public.
var errPassword = errors.New("a password in a target is not supported: use " + sshSyntax + " and a key")

// ParseTarget parses the text of a target. Errors about hosts do not repeat the
// text, since it may contain a secret in the wrong place.
func ParseTarget(text string) (Target, error) {
	for _, k := range TargetKinds {
		rest, ok := strings.CutPrefix(text, k.Prefix)
		if !ok || k.parse == nil && rest != "" {
			continue
		}
		t := Target{Kind: k.Name}
		if k.parse == nil {
			return t, nil
		}
		return t, k.parse(&t, rest)
	}
	if hasPassword(text) {
		return Target{}, errPassword
	}
	return Target{}, fmt.Errorf("%s is not a target: want %s%s", quote(text), TargetSyntax(), meantTarget(text))
}

// meantTarget returns the target that was probably meant, as the end of a message.
func meantTarget(text string) string {
	var names []string
	for _, k := range TargetKinds {
		names = append(names, k.Name)
	}
	hint := DidYouMean(text, names)
	_, err := ParseSSHAddress(text)
	switch {
	case hint != "" && !strings.Contains(text, "@"):
		return "; " + hint
	case err != nil:
		return ""
	case strings.ContainsAny(text, "@.") || !isContainerName(text):
		return "; for a host by SSH use ssh://" + text
	}
	return fmt.Sprintf("; for a host by SSH use ssh://%s, for a container container:%s", text, text)
}

// KindOf returns the kind of a target that ParseTarget returned.
func (t Target) KindOf() TargetKind {
	for _, k := range TargetKinds {
		if k.Name == t.Kind {
			return k
		}
	}
	return TargetKind{}
}

// hasPassword reports whether s is a URL, or the end of one, with a password.
func hasPassword(s string) bool {
	_, rest, found := strings.Cut(s, "://")
	if !found {
		rest = s
	}
	return strings.Contains(rest[:max(strings.LastIndex(rest, "@"), 0)], ":")
}

func parseContainer(t *Target, name string) error {
	if !isContainerName(name) {
		return fmt.Errorf(`%s is not a target: want container:NAME, where NAME has letters, digits, "_", "." and "-", starting with a letter, a digit or "_"`, quote("container:"+name))
	}
	t.Name = name
	return nil
}

func parseSSH(t *Target, authority string) (err error) {
	t.SSH, err = ParseSSHAddress(authority)
	return err
}

// ParseSSHAddress parses [USER@]HOST[:PORT]. USER may have percent escapes, and
// an IPv6 HOST is in brackets.
func ParseSSHAddress(authority string) (SSHAddress, error) {
	if authority == "" {
		return SSHAddress{}, fmt.Errorf("the host is missing: use %s", sshSyntax)
	}
	at := strings.LastIndex(authority, "@")
	user := authority[:max(at, 0)]
	// A password may contain the characters that are checked below, so this check
	// comes first.
	if strings.Contains(user, ":") {
		return SSHAddress{}, errPassword
	}
	if strings.ContainsAny(authority, "/?#") {
		return SSHAddress{}, fmt.Errorf("a target has no path, query or fragment: use %s", sshSyntax)
	}
	a := SSHAddress{}
	var err error
	if at >= 0 {
		if a.User, err = parseSSHUser(user); err != nil {
			return SSHAddress{}, err
		}
	}
	if a.Host, a.Port, err = ParseSSHHost(authority[at+1:]); err != nil {
		return SSHAddress{}, err
	}
	return a, nil
}

func parseSSHUser(s string) (string, error) {
	user, err := url.PathUnescape(s)
	switch {
	case err != nil:
		return "", errors.New("the user has an invalid escape: write % as %25")
	case user == "":
		return "", fmt.Errorf("the user before the @ is missing: use %s", sshSyntax)
	case len(user) > maxSSHUser || user[0] == '-' || strings.ContainsFunc(user, unicode.IsControl):
		return "", fmt.Errorf("the user must have 1 to %d bytes, no control characters, and no hyphen as the first character", maxSSHUser)
	}
	return user, nil
}

// ParseSSHHost parses HOST[:PORT].
func ParseSSHHost(s string) (host, port string, err error) {
	hasPort := false
	if strings.HasPrefix(s, "[") {
		literal, after, ok := strings.Cut(s[1:], "]")
		addr, err := netip.ParseAddr(strings.Replace(literal, "%25", "%", 1))
		if !ok || err != nil || !addr.Is6() || addr.Zone() != "" && !IsSSHHost(addr.Zone()) {
			return "", "", errors.New("brackets must contain an IPv6 address, as in ssh://[2001:db8::1]:22")
		}
		host = addr.String()
		port, hasPort = strings.CutPrefix(after, ":")
		if !hasPort && after != "" {
			return "", "", fmt.Errorf("only a port may follow the brackets: use %s", sshSyntax)
		}
	} else {
		host, port, hasPort = strings.Cut(s, ":")
		if strings.Contains(port, ":") {
			return "", "", errors.New("an IPv6 address must be in brackets, as in ssh://[2001:db8::1]:22")
		}
		if host == "" {
			return "", "", fmt.Errorf("the host is missing: use %s", sshSyntax)
		}
		if !IsSSHHost(host) {
			return "", "", fmt.Errorf("the host must have 1 to %d letters, digits, dots, underscores and hyphens, and no hyphen as the first character", maxSSHHost)
		}
	}
	if hasPort {
		port, err = ParseSSHPort(port)
	}
	return host, port, err
}

// ParseSSHPort parses a port and returns it in its canonical form. Its error repeats a
// short number only: after a host and a colon some write a password.
func ParseSSHPort(s string) (string, error) {
	const short = 6
	n, err := strconv.ParseUint(s, 10, 16)
	switch {
	case s == "":
		return "", errors.New("the port after the colon is missing: use " + sshSyntax)
	case (err != nil || n == 0) && len(s) <= short && strings.Trim(s, "0123456789") == "":
		return "", fmt.Errorf("%q is not a port: want a number from 1 to 65535, as in ssh://app1:22", s)
	case err != nil || n == 0:
		return "", errors.New("the port must be a number from 1 to 65535, as in ssh://app1:22")
	}
	return strconv.FormatUint(n, 10), nil
}

// IsSSHHost reports whether s can be the name of a host, an alias of
// ssh_config(5) or an IPv4 address. Such a name is safe in a known_hosts line and
// cannot be mistaken for an option.
func IsSSHHost(s string) bool {
	return s != "" && len(s) <= maxSSHHost && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	})
}

// isContainerName reports whether s can be the name of a container. Such a name
// cannot be mistaken for an option or a path.
func isContainerName(s string) bool {
	for i, r := range s {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_'
		if !letter && (i == 0 || r != '.' && r != '-') {
			return false
		}
	}
	return s != ""
}
