package sshlink

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

const (
	scheme    = "ssh://"
	form      = "ssh://[user@]host[:port]"
	hostLimit = 253 // bytes of a DNS name
	userLimit = 255
)

// name is a host as a target or a ProxyJump names it. What is not said is "".
type name struct{ user, host, port string }

// Check says what is wrong with a target of the form ssh://[user@]host[:port].
// It never repeats what stands in the target.
func Check(target string) error {
	_, err := parseTarget(target)
	return err
}

func parseTarget(target string) (name, error) {
	authority, ok := strings.CutPrefix(target, scheme)
	if !ok {
		return name{}, errors.New("a target by SSH is " + form)
	}
	return parseName(authority)
}

// parseName reads [user@]host[:port].
func parseName(authority string) (name, error) {
	// A password may hold anything, so it is looked for first.
	at := strings.LastIndex(authority, "@")
	user := authority[:max(at, 0)]
	if strings.Contains(user, ":") {
		return name{}, fmt.Errorf("a password in the URL is not supported: use %s, and a key", form)
	}
	if strings.ContainsAny(authority, "/?#") {
		return name{}, fmt.Errorf("a path, query or fragment means nothing here: use %s", form)
	}
	n := name{user: user}
	var err error
	if at >= 0 {
		if n.user, err = parseUser(user); err != nil {
			return name{}, err
		}
	}
	n.host, n.port, err = parseHostPort(authority[at+1:])
	if err != nil {
		return name{}, err
	}
	return n, nil
}

func parseUser(s string) (string, error) {
	user, err := url.PathUnescape(s)
	switch {
	case err != nil:
		return "", errors.New("the user has a bad escape: % is written as %25")
	case user == "" || len(user) > userLimit || user[0] == '-' || strings.ContainsFunc(user, unicode.IsControl):
		return "", fmt.Errorf("the user must have 1 to %d bytes, no control characters, and no - at the beginning", userLimit)
	}
	return user, nil
}

func parseHostPort(s string) (host, port string, err error) {
	hasPort := false
	if strings.HasPrefix(s, "[") {
		literal, after, ok := strings.Cut(s[1:], "]")
		addr, err := netip.ParseAddr(strings.Replace(literal, "%25", "%", 1))
		if !ok || err != nil || !addr.Is6() || addr.Zone() != "" && !isHost(addr.Zone()) {
			return "", "", errors.New("brackets must hold an IPv6 address, as in ssh://[2001:db8::1]:22")
		}
		host = addr.String()
		port, hasPort = strings.CutPrefix(after, ":")
		if !hasPort && after != "" {
			return "", "", fmt.Errorf("after the brackets only a port may follow: use %s", form)
		}
	} else {
		host, port, hasPort = strings.Cut(s, ":")
		if strings.Contains(port, ":") {
			return "", "", errors.New("an IPv6 address must be in brackets, as in ssh://[2001:db8::1]:22")
		}
		if !isHost(host) {
			return "", "", fmt.Errorf("the host must have 1 to %d letters, digits, dots, underscores and hyphens, and no hyphen at the beginning", hostLimit)
		}
	}
	if !hasPort {
		return host, "", nil
	}
	port, err = parsePort(port)
	return host, port, err
}

func parsePort(s string) (string, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return "", errors.New("the port must be 1 to 65535")
	}
	return strconv.FormatUint(n, 10), nil
}

// isHost says whether s is a host's name, an alias or an IPv4 address: something
// that is safe in a known_hosts line and never taken for an option.
func isHost(s string) bool {
	return s != "" && len(s) <= hostLimit && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	})
}
