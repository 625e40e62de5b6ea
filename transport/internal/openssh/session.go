package openssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/org/portcheck/transport/internal/remote"
)

const (
	exitTimeout   = 2 * time.Second        // from the end of stdout to the exit of ssh
	stderrTimeout = 500 * time.Millisecond // from the exit of ssh to the end of stderr, which a child may hold open; then SIGKILL
	killTimeout   = time.Second            // between SIGTERM and SIGKILL
)

// Link is what leads to a host. Each session is an ssh of its own. From the second
// on, they share a connection where that is possible.
type Link struct {
	client *Client
	args   []string
	remove func() // removes the configuration

	mu       sync.Mutex
	closed   bool
	sessions []*Session
	shared   bool // share was called
}

// Start implements remote.Link. It does not wait for the connection.
func (l *Link) Start(ctx context.Context, command string) (remote.Session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case l.closed:
		return nil, remote.At("session", errors.New("the connection has ended"))
	}
	if len(l.sessions) > 0 {
		l.share(ctx)
	}
	s, err := l.client.start(append(slices.Clone(l.args), command))
	if err != nil {
		return nil, remote.At("session", err)
	}
	l.sessions = append(l.sessions, s)
	return s, nil
}

// Close ends every ssh of the link and waits for that.
func (l *Link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sessions {
		_ = s.Close() // always nil
	}
	if !l.closed {
		l.closed = true
		l.remove()
	}
	return nil
}

// Session is an ssh that runs a command.
type Session struct {
	client   *Client
	args     []string
	host     string
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	cmd      *exec.Cmd
	stdin    *os.File
	stdout   *os.File
	messages *messages
	mu       sync.Mutex
	reaped   bool
	answered atomic.Bool // the host has written to stdout
	closing  sync.Once
	ended    chan struct{}
	err      error // of the command; set when ended is closed
}

// start starts ssh in a session without a terminal.
func (c *Client) start(args []string) (*Session, error) {
	var pipes [3][2]*os.File
	closeAll := func(end int) {
		for _, p := range pipes {
			if p[end] != nil {
				_ = p[end].Close() // nothing was written
			}
		}
	}
	for i := range pipes {
		var err error
		if pipes[i][0], pipes[i][1], err = os.Pipe(); err != nil {
			closeAll(0)
			closeAll(1)
			return nil, err
		}
	}
	pipes[0][0], pipes[0][1] = pipes[0][1], pipes[0][0] // of each pipe, the first end is ours
	s := &Session{
		cmd: exec.Command(c.path, args...), stdin: pipes[0][0], stdout: pipes[1][0],
		messages: newMessages(), ended: make(chan struct{}),
	}
	s.client, s.args, s.host = c, args, args[slices.Index(args, "--")+1]
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.cmd.Env = c.environment()
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = pipes[0][1], pipes[1][1], pipes[2][1]
	detach(s.cmd)
	started := make(chan error)
	go s.run(started, pipes[2][0])
	err := <-started
	closeAll(1)
	if err != nil {
		closeAll(0)
		return nil, err
	}
	return s, nil
}

// run starts ssh and waits for its end. Its thread lives as long as ssh, because
// Linux sends the signal for the parent's death when the thread ends
// (PR_SET_PDEATHSIG of prctl(2)).
func (s *Session) run(started chan<- error, stderr *os.File) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := s.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	drained, exited := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(drained)
		defer stderr.Close()
		s.messages.read(&unhurried{from: stderr, exited: exited})
	}()
	awaitExit(s.cmd)
	close(exited)
	terminate(s.cmd.Process) // what ssh has started, such as a ProxyCommand
	select {
	case <-drained:
	case <-time.After(stderrTimeout):
	}
	s.reap()
	s.err = s.result(s.cmd.ProcessState)
	close(s.ended)
}

// unhurried reads what a process writes with a pause before each read that is not
// likely to fill its buffer, until the process has exited: ssh -v writes a hundred lines,
// and to wake up for each costs more than to read them.
type unhurried struct {
	from   io.Reader
	exited <-chan struct{}
	more   bool // the last read has filled its buffer
}

const readPause = 20 * time.Millisecond

func (u *unhurried) Read(p []byte) (int, error) {
	if !u.more {
		select {
		case <-u.exited:
		case <-time.After(readPause):
		}
	}
	n, err := u.from.Read(p)
	u.more = n == len(p)
	return n, err
}

// reap kills what is left of the process group. From then on, another process may
// have its number.
func (s *Session) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	kill(s.cmd.Process)
	_ = s.cmd.Wait() // its status is read later
	s.reaped = true
}

// signal sends a signal to the process group, if it still exists.
func (s *Session) signal(send func(*os.Process)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.reaped {
		send(s.cmd.Process)
	}
}

// failed is the exit status of an ssh that has not run the command to its end. A
// command that exits with it can't be told apart.
const failed = 255

func (s *Session) result(state *os.ProcessState) error {
	switch status := state.ExitCode(); {
	case status == 0:
		return nil
	case status == failed && s.answered.Load():
		return &remote.LostError{Reason: remote.Shorten(s.Stderr())}
	case status == failed:
		return s.failure()
	case status < 0:
		return &remote.LostError{Reason: "ssh was ended by a signal"}
	default:
		return &remote.ExitError{Status: status, Stderr: s.Stderr()}
	}
}

// failure returns the error of an ssh that did not run the command. For an unknown
// host key it has the line to add.
func (s *Session) failure() error {
	if s.client.o.Log != nil {
		s.client.o.Log(s.host, s.messages.lines())
	}
	err := s.messages.failure()
	key := s.messages.unknownKey()
	if key == "" {
		return err
	}
	file := s.client.o.KnownHosts
	if file == "" {
		file = "~/.ssh/known_hosts"
	}
	if line := s.client.lineToAdd(s.ctx, s.args, key); line != "" {
		err.Err = fmt.Errorf("%w, then add this line to %s: %s", err.Err, file, line)
	}
	return err
}

// Read reads the command's stdout.
func (s *Session) Read(p []byte) (int, error) {
	n, err := s.stdout.Read(p)
	if n > 0 {
		s.answered.Store(true)
	}
	if err == nil {
		return n, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if s.answered.Load() { // otherwise ssh has failed, which Close cuts short
		ctx, cancel = context.WithTimeout(ctx, exitTimeout)
		defer cancel()
	}
	if lost := s.Wait(ctx); remote.IsLost(lost) {
		err = lost
	}
	return n, err
}

// Write writes to the command's stdin.
func (s *Session) Write(p []byte) (int, error) { return s.stdin.Write(p) }

// Stderr implements remote.Session.
func (s *Session) Stderr() string { return s.messages.stderrText() }

// Step implements remote.Session.
func (s *Session) Step() (step, waitsFor string) {
	if s.answered.Load() {
		return "", ""
	}
	return s.messages.current()
}

// CloseWrite closes the command's stdin.
func (s *Session) CloseWrite() error {
	if err := s.stdin.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// Wait implements remote.Session. The error is a *remote.StepError or a
// *remote.LostError if ssh has failed.
func (s *Session) Wait(ctx context.Context) error {
	select {
	case <-s.ended:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends ssh and its children, and waits for that.
func (s *Session) Close() error {
	s.closing.Do(func() {
		s.cancel()
		select {
		case <-s.ended:
		default:
			s.signal(terminate)
			select {
			case <-s.ended:
			case <-time.After(killTimeout):
				s.signal(kill)
				<-s.ended
			}
		}
		_ = s.CloseWrite() // the process that read it has ended
		_ = s.stdout.Close()
	})
	return nil
}
