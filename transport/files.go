package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/transport/internal/remote"
)

// filesHost is a host on which no portcheck can run. Its files are read by plain
// commands: by the script that could not start one, or one a session, which a forced
// command may allow.
type filesHost struct {
	host.Host
	link   remote.Link
	script *bootstrap // nil without it
}

// newFilesHost returns a host that is read by its files. step and reason are
// those of the failure to run a portcheck there. script may be nil.
func newFilesHost(ctx context.Context, link remote.Link, script *bootstrap, step, reason string) (host.Host, error) {
	output := func(ctx context.Context, command string, limit int) ([]byte, error) {
		return remote.Output(ctx, link, command, limit)
	}
	if script != nil {
		output = script.output
	}
	read := func(ctx context.Context, path string) ([]byte, error) {
		text, err := output(ctx, "cat "+path, sshReplyLimit)
		if exit := new(remote.ExitError); errors.As(err, &exit) && strings.Contains(exit.Stderr, "No such file") {
			err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
		}
		return text, err
	}
	text, err := read(ctx, "/proc/net/tcp")
	if err == nil && !bytes.Contains(text, []byte("local_address")) { // a shell that exits before it runs cat
		err = errors.New("its first line is missing")
	}
	if err != nil {
		switch lost := new(remote.StepError); {
		case ctx.Err() != nil:
			err = ctx.Err()
		case errors.As(err, &lost):
			err = fmt.Errorf("the connection was lost: %w", err)
		default:
			err = fmt.Errorf("%s, and the fallback, /proc/net/tcp, can't be read (%w)", reason, err)
		}
		return nil, &remote.StepError{Step: step, Err: err}
	}
	machine := host.Machine{OS: "linux", UID: -1}
	for _, command := range []string{"uname -m", "cat /proc/sys/kernel/arch"} { // the file exists since Linux 6.1
		if text, err := output(ctx, command, shortOutputLimit); err == nil && machine.Arch == "" {
			machine.Arch = parseSystem("Linux " + strings.TrimSpace(string(text))).arch
		}
	}
	if text, err := output(ctx, "id -u", shortOutputLimit); err == nil {
		if uid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			machine.UID = uid
		}
	}
	if text, err := output(ctx, "cat /proc/sys/kernel/hostname", shortOutputLimit); err == nil {
		machine.Hostname = strings.TrimSpace(string(text))
	}
	return filesHost{host.FromFiles(read, machine, reason), link, script}, nil
}

// shortOutputLimit is the limit of the output of commands that print one line,
// in bytes.
const shortOutputLimit = 4 << 10

// Hold implements host.Leaser.
func (h filesHost) Hold(ctx context.Context, req host.LeaseRequest) (host.LeaseReply, error) {
	return host.Hold(ctx, h.Host, req)
}

func (h filesHost) Close() error {
	if h.script != nil {
		h.script.stop(context.Background())
	}
	return h.link.Close()
}
