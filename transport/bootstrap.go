package transport

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/org/portcheck/host/wire"
	"github.com/org/portcheck/transport/internal/remote"
)

// bootstrapScript is the shell script that receives an executable and runs it.
// It prints the host's system, then executes commands from its stdin, one a
// line, and replies in lines that begin with "portcheck-". However it ends, it
// removes its files from the host, except the executables that "keep" stores. If it
// can't run an executable, it still runs plain commands.
//
// Its arguments are a command to run the executable with, which may be empty,
// and the lifetime of the executable.
//
// A kept executable is hashed once after each change: the file beside it, NAME.ok, is
// made when the hash was right. ls lists the last change of an inode first. That of the
// directory can be anywhere: two sessions may make NAME.ok at the same time.
//
// A kept executable takes the place of the shell, which has nothing to remove then. The
// probe mostly waits, so threads that look for work cost it more than they gain.
//
// Its first line of output is empty, since the login shell may have printed an
// incomplete line before.
//
// It contains no single quote, backslash or exclamation mark and is sent as one
// line, because the user's login shell parses it first, which may be csh or
// fish.
const bootstrapScript = `
umask 077;
dir= ;
leave() { if test -n "$dir"; then rm -rf "$dir"; fi; };
trap leave 0;
trap "exit 1" 1 2 13 15;
run() {
  echo portcheck-run;
  if test -z "$dir"; then exec $sudo "$1" probe --ready --for "$life"; fi;
  $sudo "$1" probe --ready --for "$life" --unlink;
  echo "portcheck-end $?";
  exit;
};
safe() {
  if test -L "$store"; then return 1; fi;
  test -O "$store" && case $(ls -nd "$store") in d????-??-*) :;; *) false;; esac;
};
workdir() {
  for at in "$@"; do
    dir=$(mktemp -d "$at/portcheck.XXXXXXXXXX" 2>/dev/null) || continue;
    echo : > "$dir/try" && chmod 700 "$dir/try" && "$dir/try" && rm "$dir/try" && return;
    leave;
  done;
  dir= ;
};
sudo=$1; life=$2;
GOMAXPROCS=1; export GOMAXPROCS;
store=${XDG_CACHE_HOME:-$HOME/.cache}/portcheck;
echo;
echo "portcheck-hello $(uname -sm)";
while read -r verb hash size; do
  case $verb in
  kept)
    file=$store/$hash;
    if test -L "$store" || test -L "$file"; then :;
    elif test -O "$store" && test -O "$file" && test -f "$file"; then
      case $(ls -nctd "$store" "$file" "$file.ok" 2>/dev/null) in
      d????-??-*"$file.ok"*"$file"* | *"$file.ok"?d????-??-*"$file"* | *"$file.ok"*"$file"?d????-??-*) run "$file";;
      esac;
      if safe; then
        rm -f "$file.ok";
        case $(sha256sum < "$file") in
        "$hash "*) : > "$file.ok"; run "$file";;
        esac;
      fi;
    fi;
    echo portcheck-missing;;
  keep|take)
    for tool in mktemp head gzip chmod rm; do
      command -v $tool > /dev/null || { echo "portcheck-lacks $tool"; continue 2; };
    done;
    if test $verb = keep; then mkdir -p "$store" && safe && workdir "$store"; fi;
    if test -z "$dir"; then verb=take; workdir "${TMPDIR:-/tmp}" /var/tmp "$HOME"; fi;
    if test -z "$dir"; then echo portcheck-nowhere; continue; fi;
    echo portcheck-send;
    file=$dir/portcheck;
    if why=$( { head -c "$size" | { gzip -dc > "$file" && chmod 700 "$file"; code=$?; cat > /dev/null; exit $code; }; } 2>&1); then
      if test $verb = keep; then
        if test -d "$store/$hash"; then rm -rf "$store/$hash"; fi;
        if mv -f "$file" "$store/$hash"; then
          leave; dir= ;
          ls -t "$store" | grep -v -e portcheck -e ok -e "$hash" | tail -n +3 | while read -r old; do rm -f "$store/$old" "$store/$old.ok"; done;
          run "$store/$hash";
        fi;
      else run "$file" unlink; fi;
    fi;
    echo portcheck-broken $why;
    leave; dir= ;;
  plain)
    echo portcheck-text;
    $hash $size 2>&1;
    code=$?;
    echo;
    echo "portcheck-done $code";;
  esac;
done
`

// bootstrap is a session that runs bootstrapScript or an installed portcheck,
// until the probe takes requests.
type bootstrap struct {
	link      remote.Link
	session   remote.Session
	lines     *bufio.Reader
	installed string // path of the installed portcheck; empty with bootstrapScript
	// sent is closed once the binary is written. It is nil if none is sent.
	sent chan struct{}
	// running is true once the script has begun to run the executable.
	running bool
	// plain is true if the script has not run the executable, and takes commands.
	plain bool
	mu    sync.Mutex // of output
}

// cannotRunError is the reason why a host does not run an executable of ours,
// or a connection that was lost before it did.
type cannotRunError struct{ error }

func (e cannotRunError) Unwrap() error { return e.error }

const (
	preambleLimit = 64 << 10        // bytes of other output, such as a login shell's, before a reply
	exitTimeout   = 2 * time.Second // until a command exits after the end of its stdout or stdin
)

// startBootstrap starts bootstrapScript and returns the host's system.
func startBootstrap(ctx context.Context, link remote.Link, sudo string, lifetime time.Duration) (*bootstrap, system, error) {
	command := fmt.Sprintf("exec sh -c '%s' portcheck '%s' %s", oneLine(bootstrapScript), sudo, seconds(lifetime))
	session, err := link.Start(ctx, command)
	if err != nil {
		return nil, system{}, err
	}
	b := newBootstrap(link, session, "")
	uname, err := b.readReply(ctx, "hello")
	if err != nil {
		b.stop(ctx)
		return nil, system{}, err
	}
	return b, parseSystem(uname), nil
}

func newBootstrap(link remote.Link, session remote.Session, installed string) *bootstrap {
	// The script and the probe skip empty lines. To an SFTP server, which some
	// hosts start whatever the command is, these are an invalid message, so it
	// exits instead of waiting for more.
	_, _ = io.WriteString(session, "\n\n\n\n") // after a failure, reading the reply fails too
	return &bootstrap{link: link, session: session, lines: bufio.NewReaderSize(session, 64<<10), installed: installed}
}

// startInstalled starts the portcheck at path on the host, by sudo unless that
// is empty.
func startInstalled(ctx context.Context, link remote.Link, path, sudo string, lifetime time.Duration) (*bootstrap, error) {
	command := fmt.Sprintf("exec %s %s probe --ready --for %s", sudo, quote(path), seconds(lifetime))
	session, err := link.Start(ctx, command)
	if err != nil {
		return nil, err
	}
	b := newBootstrap(link, session, path)
	if err := b.waitReady(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// seconds returns d for a command line, rounded up to whole seconds.
func seconds(d time.Duration) string { return strconv.Itoa(int(d.Seconds())+1) + "s" }

// stop ends the script and waits for its exit, since a host may allow only one
// session at a time.
func (b *bootstrap) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, exitTimeout)
	defer cancel()
	if b.sent != nil {
		select {
		case <-b.sent: // the session does not allow CloseWrite beside a Write
		case <-ctx.Done():
			_ = b.session.Close()
			return
		}
	}
	_ = b.session.CloseWrite() // the script may have exited already; its status does not matter
	_ = b.session.Wait(ctx)
	_ = b.session.Close()
}

// readReply reads the next reply. The reply must begin with one of words. If only
// one word is allowed, readReply returns the text after it, otherwise all of the
// text.
func (b *bootstrap) readReply(ctx context.Context, words ...string) (string, error) {
	stop := context.AfterFunc(ctx, func() { _ = b.link.Close() }) // so that the read fails, whatever the host does
	defer stop()
	for left := preambleLimit; left > 0; {
		line, err := b.lines.ReadSlice('\n')
		left -= len(line)
		text, isReply := strings.CutPrefix(strings.TrimRight(string(line), "\r\n"), "portcheck-")
		switch {
		case ctx.Err() != nil:
			return "", b.interrupted(ctx)
		case remote.IsLost(err):
			return "", err
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return "", cannotRunError{b.failure(ctx, "")}
		case !isReply:
			continue
		}
		word, rest, _ := strings.Cut(text, " ")
		switch {
		case !slices.Contains(words, word):
			return "", cannotRunError{b.failure(ctx, text)}
		case len(words) == 1:
			return rest, nil
		}
		return text, nil
	}
	return "", cannotRunError{fmt.Errorf("%smore than %d bytes of output without a reply", b.subject(), preambleLimit)}
}

// interrupted returns the error of a context that has ended, with the step of the
// connection that went on.
func (b *bootstrap) interrupted(ctx context.Context) error {
	step, waitsFor := b.session.Step()
	switch {
	case step == "" || !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ctx.Err()
	case waitsFor != "":
		return remote.At(step, remote.LateError{WaitedFor: waitsFor, Cause: ctx.Err()})
	}
	return remote.At(step, ctx.Err())
}

// subject returns the start of a message about an installed portcheck.
func (b *bootstrap) subject() string {
	if b.installed == "" {
		return ""
	}
	return b.installed + " (--remote-path) is not a portcheck executable that answers: "
}

// failure returns the error for an unexpected reply, or for the end of the
// output if reply is empty.
func (b *bootstrap) failure(ctx context.Context, reply string) error {
	word, argument, _ := strings.Cut(reply, " ")
	exit := &remote.ExitError{}
	b.plain = b.installed == "" && (word == "lacks" || word == "nowhere" || word == "broken")
	if reply == "" || word == "end" {
		ctx, cancel := context.WithTimeout(ctx, exitTimeout)
		defer cancel()
		err := b.session.Wait(ctx)
		if remote.IsLost(err) {
			return err
		}
		switch isExit := errors.As(err, &exit); {
		case isExit && b.installed != "":
			return fmt.Errorf("%s%w", b.subject(), exit)
		case b.running && reply == "":
			word, argument = "end", strconv.Itoa(exit.Status) // 0 if there is none
		}
	}
	stderr := oneLine(b.session.Stderr())
	if word == "broken" {
		stderr = remote.Shorten(argument)
	}
	if stderr != "" {
		stderr = ": " + stderr
	}
	switch {
	case word == "end":
		return fmt.Errorf("the portcheck executable could not be run on the host (exit status %s)%s", argument, stderr)
	case reply == "" && b.installed != "":
		return fmt.Errorf("%sit exited at once%s", b.subject(), stderr)
	case word == "nowhere":
		return errors.New("no directory of the host is writable and allows execution (of TMPDIR or /tmp, /var/tmp and the home directory): they are read-only, full or mounted noexec")
	case word == "lacks":
		return fmt.Errorf("the host has no %.20q command, which is needed to receive the portcheck executable", argument)
	case word == "broken":
		return fmt.Errorf("the portcheck executable could not be unpacked on the host%s", stderr)
	case reply != "":
		return fmt.Errorf("%sunexpected reply %.80q", b.subject(), reply)
	case stderr != "":
		return fmt.Errorf("the host does not run portcheck's commands%s", stderr)
	}
	return errors.New("the host does not run portcheck's commands: a forced command, no shell, or a startup file that exits")
}

// runBinary runs bin on the host. If keep is true, it uses the copy that the host
// has stored, or stores one there.
func (b *bootstrap) runBinary(ctx context.Context, bin *binary, keep bool) error {
	hash, verb := "-", "take"
	if keep {
		verb = "keep"
		var err error
		if hash, err = bin.hash(); err != nil {
			return err
		}
		if err := b.send(ctx, "kept "+hash); err != nil {
			return err
		}
		reply, err := b.readReply(ctx, "run", "missing")
		if err != nil {
			return err
		}
		if reply == "run" {
			b.running = true
			return b.waitReady(ctx)
		}
	}
	packed, err := bin.packed()
	if err != nil {
		return err
	}
	if err := b.send(ctx, fmt.Sprintf("%s %s %d", verb, hash, len(packed))); err != nil {
		return err
	}
	if _, err := b.readReply(ctx, "send"); err != nil {
		return err
	}
	b.sent = make(chan struct{})
	go func() {
		defer close(b.sent)
		_, _ = b.session.Write(packed) // after a failure, reading the reply fails too
	}()
	if _, err := b.readReply(ctx, "run"); err != nil {
		return err
	}
	b.running = true
	return b.waitReady(ctx)
}

// send sends a line to the script. It is short enough for the write not to
// block.
func (b *bootstrap) send(ctx context.Context, line string) error {
	if _, err := io.WriteString(b.session, line+"\n"); err != nil {
		if ctx.Err() != nil {
			return b.interrupted(ctx)
		}
		return cannotRunError{b.failure(ctx, "")}
	}
	return nil
}

// output has the script run a command and returns its output. It is as remote.Output,
// except that stderr is a part of the output.
func (b *bootstrap) output(ctx context.Context, command string, limit int) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.send(ctx, "plain "+command); err != nil {
		return nil, err
	}
	if _, err := b.readReply(ctx, "text"); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = b.link.Close() }) // so that the read fails, whatever the host does
	defer stop()
	var text []byte
	for atStart := true; ; {
		line, err := b.lines.ReadSlice('\n')
		status, ended := strings.CutPrefix(string(line), "portcheck-done ")
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return nil, remote.At("session", err)
		case !ended || !atStart:
			text = append(text, line...)
		}
		if len(text) > limit+1 {
			_ = b.link.Close() // the rest would be read as replies
			return nil, fmt.Errorf("the command wrote more than %d bytes", limit)
		}
		if ended && atStart {
			text = bytes.TrimSuffix(text, []byte("\n")) // the script's own
			code, err := strconv.Atoi(strings.TrimSpace(status))
			switch {
			case err != nil:
				return nil, fmt.Errorf("unexpected status %.20q", status)
			case code != 0:
				return nil, &remote.ExitError{Status: code, Stderr: string(text[:min(len(text), shortOutputLimit)])}
			}
			return text, nil
		}
		atStart = err == nil
	}
}

// waitReady waits until the probe takes requests.
func (b *bootstrap) waitReady(ctx context.Context) error {
	version, err := b.readReply(ctx, "ready")
	if err == nil && version != strconv.Itoa(wire.Version) {
		which := "the portcheck that was sent"
		if b.installed != "" {
			which = b.installed + " (--remote-path)"
		}
		return fmt.Errorf("%s uses version %.20q of the probe protocol, and this portcheck version %d: use the same release at both ends", which, version, wire.Version)
	}
	return err
}

// parseSystem parses the output of `uname -sm`.
func parseSystem(text string) system {
	name, machine, _ := strings.Cut(text, " ")
	s := system{os: strings.ToLower(name), arch: machine}
	switch machine {
	case "x86_64":
		s.arch = "amd64"
	case "aarch64":
		s.arch = "arm64"
	case "i386", "i486", "i586", "i686":
		s.arch = "386"
	case "armv5l", "armv6l", "armv7l", "armv8l":
		s.arch = "arm"
	case "loongarch64":
		s.arch = "loong64"
	}
	return s
}
