package sshlink

import (
	"context"
	"fmt"
	"net"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/transport/internal/remote"
)

const (
	defaultPort = "22"
	maxJumps    = 8
)

// hop is a host of a route, the target or a jump host, with its settings in
// ssh_config(5).
type hop struct {
	name             string // as written in the target or in a ProxyJump
	user, host, port string
	keyName          string              // host:port to look up in known_hosts
	jumps            []config.SSHAddress // its ProxyJump

	userKnownHosts, globalKnownHosts []string // files
	identities, certificates         []string // files
	identitiesOnly                   bool
}

func (h hop) address() string { return net.JoinHostPort(h.host, h.port) }

// route returns the hops to a target, the target last. The jump hosts of a host
// are the whole route to it, except that the first of them may have a ProxyJump
// of its own.
func (d *Dialer) route(ctx context.Context, target config.SSHAddress) ([]hop, error) {
	last, err := d.hop(ctx, target)
	if err != nil {
		return nil, err
	}
	hops := []hop{last}
	for len(hops[0].jumps) > 0 {
		var via []hop
		for _, j := range hops[0].jumps {
			h, err := d.hop(ctx, j)
			if err != nil {
				return nil, err
			}
			via = append(via, h)
		}
		hops = append(via, hops...)
		if len(hops) > maxJumps+1 {
			return nil, remote.At("config", fmt.Errorf("the ProxyJump of %s has more than %d hosts, or is circular", last.name, maxJumps))
		}
	}
	return hops, nil
}

// hop looks up the settings of a host. The user and the port of the address take
// precedence.
func (d *Dialer) hop(ctx context.Context, n config.SSHAddress) (hop, error) {
	c, err := d.config.get(ctx, "", "config", "the SSH configuration", d.readConfig)
	if err != nil {
		return hop{}, err
	}
	h := hop{name: n.Host, user: n.User, port: n.Port}
	if err := d.configure(&h, c); err != nil {
		return hop{}, remote.At("config", fmt.Errorf("%s: %w", n.Host, err))
	}
	return h, nil
}

func (d *Dialer) configure(h *hop, c clientConfig) error {
	first := func(keyword string) string { return c.first(h.name, keyword) }
	for _, unsupported := range []string{"ProxyCommand", "ProxyUseFdpass"} {
		if v := first(unsupported); v != "" && v != "none" && v != "no" {
			return fmt.Errorf("%s is not supported: use ProxyJump", unsupported)
		}
	}
	var err error
	if h.host, err = hostName(h.name, first("HostName")); err != nil {
		return err
	}
	if port := first("Port"); h.port == "" && port != "" {
		if h.port, err = config.ParseSSHPort(port); err != nil {
			return err
		}
	}
	if h.port == "" {
		h.port = defaultPort
	}
	if h.user == "" {
		h.user = first("User")
	}
	if h.user == "" {
		h.user = d.localUser()
	}
	h.keyName = net.JoinHostPort(strings.ToLower(h.host), h.port)
	if alias := first("HostKeyAlias"); alias != "" {
		if !config.IsSSHHost(alias) {
			return fmt.Errorf("HostKeyAlias %s is not a host name", remote.Shorten(alias))
		}
		h.keyName = net.JoinHostPort(strings.ToLower(alias), defaultPort)
	}
	if h.jumps, err = jumps(first("ProxyJump")); err != nil {
		return err
	}
	h.identitiesOnly = strings.EqualFold(first("IdentitiesOnly"), "yes")
	return d.configureFiles(h, c)
}

// configureFiles sets the fields that are lists of files.
func (d *Dialer) configureFiles(h *hop, c clientConfig) error {
	first := func(keyword string) [][]string {
		all := c.all(h.name, keyword)
		return all[:min(len(all), 1)]
	}
	for _, f := range []struct {
		to      *[]string
		keyword string
		values  [][]string
	}{
		{&h.identities, "IdentityFile", c.all(h.name, "IdentityFile")},
		{&h.certificates, "CertificateFile", c.all(h.name, "CertificateFile")},
		{&h.userKnownHosts, "UserKnownHostsFile", first("UserKnownHostsFile")},
		{&h.globalKnownHosts, "GlobalKnownHostsFile", first("GlobalKnownHostsFile")},
	} {
		for _, v := range slices.Concat(f.values...) {
			file, err := d.expand(v, h)
			if err != nil {
				return fmt.Errorf("%s: %w", f.keyword, err)
			}
			*f.to = append(*f.to, file)
		}
	}
	if len(h.userKnownHosts) == 0 {
		h.userKnownHosts = []string{d.inHome(".ssh", "known_hosts"), d.inHome(".ssh", "known_hosts2")}
	}
	if dir := d.systemDir(); len(h.globalKnownHosts) == 0 && dir != "" {
		h.globalKnownHosts = []string{filepath.Join(dir, "ssh_known_hosts"), filepath.Join(dir, "ssh_known_hosts2")}
	}
	return nil
}

// hostName returns the host that an alias stands for by its HostName setting.
func hostName(alias, setting string) (string, error) {
	if setting == "" {
		return alias, nil
	}
	host, err := replace(setting, map[byte]string{'h': alias})
	if err != nil {
		return "", fmt.Errorf("HostName: %w", err)
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	host, _, err = config.ParseSSHHost(host)
	if err != nil {
		return "", fmt.Errorf("HostName: %w", err)
	}
	return host, nil
}

func jumps(setting string) ([]config.SSHAddress, error) {
	if setting == "" || strings.EqualFold(setting, "none") {
		return nil, nil
	}
	var all []config.SSHAddress
	for part := range strings.SplitSeq(setting, ",") {
		n, err := config.ParseSSHAddress(strings.TrimPrefix(strings.TrimSpace(part), "ssh://"))
		if err != nil {
			return nil, fmt.Errorf("ProxyJump: %w", err)
		}
		all = append(all, n)
	}
	return all, nil
}

func (d *Dialer) localUser() string {
	if name := d.o.Env["USER"]; name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// expand returns a file name of ssh_config(5) with ~ and tokens replaced.
func (d *Dialer) expand(file string, h *hop) (string, error) {
	return replace(d.expandHome(file), map[byte]string{
		'd': d.inHome(), 'u': d.localUser(), 'h': h.host, 'n': h.name, 'p': h.port, 'r': h.user,
	})
}

// replace returns text with the tokens of ssh_config(5), such as %h, replaced.
func replace(text string, tokens map[byte]string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		i++
		switch {
		case i == len(text):
			return "", fmt.Errorf("%q ends with %%: write %%%%", remote.Shorten(text))
		case text[i] == '%':
			b.WriteByte('%')
		case tokens[text[i]] == "":
			return "", fmt.Errorf("the token %%%c is not supported", text[i])
		default:
			b.WriteString(tokens[text[i]])
		}
	}
	return b.String(), nil
}
