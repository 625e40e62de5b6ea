package host

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/host/internal/netlink"
)

// opErrno splits an error into the operation that failed and its symbolic errno,
// or its text if it has no errno.
func opErrno(err error) (op, errno string) {
	var step *opError
	var asked *netlink.Error
	var path *os.PathError
	switch {
	case errors.As(err, &step):
		op, err = step.op, step.err
	case errors.As(err, &asked):
		op, err = asked.Op, asked.Err
	case errors.As(err, &path):
		op, err = path.Op+" "+path.Path, path.Err
	}
	if _, known := errors.AsType[unix.Errno](err); !known {
		return op, strings.TrimPrefix(err.Error(), op+": ")
	}
	return op, ErrnoName(err)
}
