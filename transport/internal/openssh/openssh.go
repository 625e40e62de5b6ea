// Package openssh runs commands on hosts by the ssh(1) of OpenSSH, so that a host
// is reached as the user reaches it.
package openssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/transport/internal/remote"
)

// Options are the settings of a Client.
type Options struct {
	Env            map[string]string // environment of our process
	ConfigFile     string            // file that replaces the user's configuration
	Identities     []string          // private key files; if set, no other keys are offered to the target
	KnownHosts     string            // file that replaces the user's and the system's known_hosts
	ConnectTimeout time.Duration     // where the user's configuration has none
	// Log, if set, gets the last lines of an ssh that has failed, for each that did.
	Log func(host string, lines []string)
}

// Client runs ssh. It is safe for concurrent use.
type Client struct {
	o    Options
	once sync.Once
	path string
	version
	err error // of looking for ssh
}

const findTimeout = 10 * time.Second // of `ssh -V`

// New returns a Client. It runs nothing yet.
func New(o Options) *Client { return &Client{o: o} }

// version is one of OpenSSH, such as 9.2.
type version struct{ major, minor int }

func (v version) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// Find looks for OpenSSH's client on PATH. It does so once.
func (c *Client) Find(ctx context.Context) error {
	c.once.Do(func() {
		if c.path, c.err = exec.LookPath("ssh"); c.err != nil {
			c.err = errors.New("there is no ssh on PATH")
			return
		}
		// What is found counts for all targets, so it must not depend on the time of one.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), findTimeout)
		defer cancel()
		cmd := exec.CommandContext(ctx, c.path, "-V")
		cmd.Env = c.environment()
		cmd.WaitDelay = time.Second
		text, _ := cmd.CombinedOutput() // of a program that fails, the text is not OpenSSH's either
		if c.version, c.err = parseVersion(string(text)); c.err != nil {
			c.err = fmt.Errorf("%s is not OpenSSH: %w", c.path, c.err)
		}
	})
	return c.err
}

// parseVersion parses the output of `ssh -V`, such as "OpenSSH_9.2p1 Debian-2,
// OpenSSL 3.0.19" or "OpenSSH_for_Windows_9.5p1, LibreSSL 3.8.2".
func parseVersion(text string) (v version, err error) {
	rest, found := strings.CutPrefix(text, "OpenSSH_")
	rest = strings.TrimPrefix(rest, "for_Windows_")
	if _, err := fmt.Sscanf(rest, "%d.%d", &v.major, &v.minor); !found || err != nil {
		return version{}, fmt.Errorf("its version is %q", remote.Shorten(text))
	}
	return v, nil
}

// environment returns the environment of ssh: ours without keys, and without any
// program that could ask for a passphrase.
func (c *Client) environment() []string {
	var env []string
	for name, value := range c.o.Env {
		if !strings.HasPrefix(name, "PORTCHECK_") && !strings.HasPrefix(name, "SSH_ASKPASS") {
			env = append(env, name+"="+value)
		}
	}
	slices.Sort(env)
	return append(env, "SSH_ASKPASS_REQUIRE=never")
}

// Dial prepares a link to a target. Each session of it is a connection. The error is
// a *remote.StepError.
func (c *Client) Dial(ctx context.Context, target config.SSHAddress) (*Link, error) {
	if err := c.Find(ctx); err != nil {
		return nil, remote.At("config", err)
	}
	if err := c.checkFiles(); err != nil {
		return nil, err
	}
	f := &files{}
	name, err := c.write(ctx, f, target)
	if err != nil {
		f.remove()
		return nil, remote.At("config", err)
	}
	return &Link{client: c, args: append([]string{"-F", name, "-T", "-v"}, address(target)...), remove: f.remove}, nil
}

// write creates the configuration for a target and returns the name of its file.
func (c *Client) write(ctx context.Context, f *files, target config.SSHAddress) (name string, err error) {
	text, err := c.configuration(f)
	if err == nil && len(c.o.Identities) > 0 {
		text, err = c.resolve(ctx, f, target, text)
	}
	if err != nil {
		return "", err
	}
	return f.add(text)
}

// resolve returns a configuration with the given keys alone, made of one without.
func (c *Client) resolve(ctx context.Context, f *files, target config.SSHAddress, text string) (string, error) {
	file, err := f.add(text)
	if err != nil {
		return "", err
	}
	resolved, err := c.query(ctx, append([]string{"-F", file, "-T"}, address(target)...))
	if err != nil {
		return "", err
	}
	return c.withKeysAlone(f, target.Host, string(resolved))
}

// query returns the output of `ssh -G`, the options for a host.
func (c *Client) query(ctx context.Context, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.path, append([]string{"-G"}, args...)...)
	cmd.Env = c.environment()
	cmd.WaitDelay = time.Second
	detach(cmd)
	cmd.Cancel = func() error { kill(cmd.Process); return nil }
	var stderr remote.Head
	cmd.Stderr = &stderr
	resolved, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, errors.New(remote.Shorten(cmp.Or(strings.TrimSpace(stderr.String()), err.Error())))
	}
	return resolved, nil
}

// address returns the arguments that name a target.
func address(target config.SSHAddress) []string {
	var args []string
	if target.User != "" {
		args = append(args, "-l", target.User)
	}
	if target.Port != "" {
		args = append(args, "-p", target.Port)
	}
	return append(args, "--", target.Host)
}
