package openssh

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/org/portcheck/transport/internal/remote"
)

// learn are the options by which ssh writes an unknown host key to a file and then
// does not log in.
var learn = []string{
	"StrictHostKeyChecking=accept-new", "HashKnownHosts=no", "GlobalKnownHostsFile=" + os.DevNull, "ControlPath=none",
	"PubkeyAuthentication=no", "PasswordAuthentication=no", "KbdInteractiveAuthentication=no", "GSSAPIAuthentication=no",
	"HostbasedAuthentication=no", "LogLevel=ERROR",
}

// lineToAdd returns the known_hosts line for the key of a host, which another ssh
// with the same arguments finds out, or "" if it finds none with this fingerprint.
func (c *Client) lineToAdd(ctx context.Context, args []string, fingerprint string) string {
	file, remove, err := remote.AsFile("")
	if err != nil {
		return ""
	}
	defer remove()
	var options []string
	for _, o := range append(slices.Clone(learn), "UserKnownHostsFile="+file) {
		options = append(options, "-o", o)
	}
	if c.atLeast(8, 5) {
		options = append(options, "-o", "KnownHostsCommand=none")
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.ConnectTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, append(options, args...)...)
	cmd.Env = c.environment()
	cmd.WaitDelay = time.Second
	detach(cmd)
	cmd.Cancel = func() error { kill(cmd.Process); return nil }
	_ = cmd.Run() // it fails, since every login is off
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) != 3 {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(words[2])
		sum := sha256.Sum256(key)
		if err == nil && fingerprint == "SHA256:"+base64.RawStdEncoding.EncodeToString(sum[:]) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
