//go:build darwin || freebsd

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/org/portcheck/host/internal/socktab"
)

// lsof returns the sockets of all processes that this user may see. If some can't be
// parsed, it returns the others together with an error.
func lsof(ctx context.Context) ([]socktab.Socket, error) {
	cmd := exec.CommandContext(ctx, "lsof", socktab.LsofArgs...)
	cmd.WaitDelay = time.Second
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	output, err := cmd.Output()
	// lsof exits with 1 also if it finds nothing of one protocol, and is silent then:
	// lsof(8), "DIAGNOSTICS".
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 && complaint.Len() == 0 {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %.200s", err, complaint.Bytes())
	}
	return socktab.ParseLsof(string(output))
}
