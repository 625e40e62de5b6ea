package sshlink

import (
	"cmp"
	"net"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/org/portcheck/config"
)

const defaultPort = "22"

// account is a user on a host.
type account struct{ user, host, port string }

// account returns what a target names, with the defaults of ssh.
func (d *Dialer) account(target config.SSHAddress) account {
	return account{cmp.Or(target.User, d.localUser()), target.Host, cmp.Or(target.Port, defaultPort)}
}

func (a account) String() string { return a.user + "@" + a.host }

// address returns the host and the port, to be dialed.
func (a account) address() string { return net.JoinHostPort(a.host, a.port) }

// keyName returns the host and the port, to be looked up in known_hosts.
func (a account) keyName() string { return net.JoinHostPort(strings.ToLower(a.host), a.port) }

func (d *Dialer) localUser() string {
	if name := d.o.Env["USER"]; name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// inHome returns the path of a file in the home directory, "" if there is no
// home directory.
func (d *Dialer) inHome(names ...string) string {
	home := cmp.Or(d.o.Env["HOME"], d.o.Env["USERPROFILE"])
	if home == "" {
		return ""
	}
	return filepath.Join(home, filepath.Join(names...))
}
