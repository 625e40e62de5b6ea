package transport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/transport/internal/sshlink"
)

// filesHost is a host where no portcheck can run. Its files are read by plain
// commands, which a forced command may let through.
type filesHost struct {
	host.Host
	link *sshlink.Link
}

// newFilesHost reads a host's files. It is told why no portcheck runs there, and
// at which step that was found out.
func newFilesHost(ctx context.Context, link *sshlink.Link, at, reason string) (host.Host, error) {
	read := func(ctx context.Context, path string) ([]byte, error) {
		text, err := link.Output(ctx, "cat "+path, sshAnswerLimit)
		if exit := new(sshlink.ExitError); errors.As(err, &exit) && strings.Contains(exit.Said, "No such file") {
			err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
		}
		return text, err
	}
	if _, err := read(ctx, "/proc/net/tcp"); err != nil {
		switch lost := new(sshlink.StepError); {
		case ctx.Err() != nil:
			err = ctx.Err()
		case errors.As(err, &lost):
			err = fmt.Errorf("the connection was lost: %w", err)
		default:
			err = fmt.Errorf("%s, and /proc/net/tcp can't be read instead (%w)", reason, err)
		}
		return nil, &sshlink.StepError{Step: at, Err: err}
	}
	machine := host.Machine{OS: "linux", UID: -1}
	for _, command := range []string{"uname -m", "cat /proc/sys/kernel/arch"} { // the file is there since Linux 6.1
		if text, err := link.Output(ctx, command, lineLimit); err == nil && machine.Arch == "" {
			machine.Arch = parseSystem("Linux " + strings.TrimSpace(string(text))).arch
		}
	}
	if text, err := link.Output(ctx, "id -u", lineLimit); err == nil {
		if uid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			machine.UID = uid
		}
	}
	return filesHost{host.FromFiles(read, machine, reason), link}, nil
}

// lineLimit is of the answers of small commands, in bytes.
const lineLimit = 4 << 10

func (h filesHost) Close() error { return h.link.Close() }
