package lease

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
)

// Start starts a keeper, which is a program that calls Keep, and returns its reply.
// The keeper outlives this process. If ctx ends first, the keeper is killed.
func Start(ctx context.Context, path string, args, env []string, r Request) (Reply, error) {
	r.Directory = directory()
	request, err := json.Marshal(r)
	if err != nil {
		return Reply{}, err
	}
	cmd := exec.Command(path, args...)
	cmd.Args[0] = "portcheck" // also if path is /proc/self/exe
	cmd.Env = env
	cmd.Stdin = bytes.NewReader(request)
	Independent(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Reply{}, err
	}
	if err := startUnprivileged(cmd); err != nil {
		return Reply{}, fmt.Errorf("the process that holds the ports can't be started: %w", err)
	}
	// It must not be killed once ctx ends later, so it has no context of its own.
	abandon := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // it may have ended already
	defer abandon()
	var reply Reply
	err = json.NewDecoder(out).Decode(&reply)
	if err == nil && reply.Error == "" && reply.Unmet == nil && len(reply.First) == len(r.Wants) {
		// Once it has detached itself it is done with the streams.
		_, err = out.Read(make([]byte, 1))
		if abandon() && errors.Is(err, io.EOF) {
			if wait := func() { _ = cmd.Wait() }; r.Orphan { // how it ends is its own affair
				wait()
			} else {
				go wait()
			}
			return reply, nil
		}
	}
	if err != nil {
		_ = cmd.Process.Kill() // it may have ended already
	}
	ended := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return Reply{}, context.Cause(ctx)
	case err != nil:
		return Reply{}, fmt.Errorf("the process that holds the ports has not answered: %w", errors.Join(err, ended))
	case reply.Error != "":
		return Reply{}, errors.New(reply.Error)
	case reply.Unmet == nil || *reply.Unmet < 0 || *reply.Unmet >= len(r.Wants):
		return Reply{}, errors.New("the process that holds the ports has given an answer to another question")
	}
	return reply, nil
}
