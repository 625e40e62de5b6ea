package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/org/portcheck/host/wire"
	"github.com/org/portcheck/transport/internal/sshlink"
)

// receptionist is the shell script that takes our executable in and runs it. It
// tells what system it is on, then does what it reads from its stdin, line by
// line, and answers in lines that begin with "portcheck-". Whatever ends it, it
// leaves nothing in the host's file system, unless it was told to keep.
//
// Its arguments: a command to run the executable with (or nothing), and how long
// that may live.
//
// Its first line is empty: the login shell may have left one unfinished.
//
// It has no single quote, backslash or exclamation mark, and is sent as one line:
// the user's login shell reads it first, which may be csh or fish.
const receptionist = `
umask 077;
dir= ;
leave() { if test -n "$dir"; then rm -rf "$dir"; fi; };
trap leave 0;
trap "exit 1" 1 2 13 15;
run() {
  echo portcheck-run;
  $sudo "$1" probe --ready --for "$life" ${2:+--unlink};
  echo "portcheck-end $?";
  exit;
};
room() {
  for at in "$@"; do
    dir=$(mktemp -d "$at/portcheck.XXXXXXXXXX" 2>/dev/null) || continue;
    echo : > "$dir/try" && chmod 700 "$dir/try" && "$dir/try" && rm "$dir/try" && return;
    leave;
  done;
  dir= ;
};
sudo=$1; life=$2;
store=${XDG_CACHE_HOME:-$HOME/.cache}/portcheck;
echo;
echo "portcheck-hello $(uname -sm)";
while read -r verb hash size; do
  case $verb in
  kept)
    if test -L "$store/$hash"; then :;
    elif test -O "$store" && test -O "$store/$hash"; then
      case $(sha256sum < "$store/$hash") in
      "$hash "*) run "$store/$hash";;
      esac;
    fi;
    echo portcheck-missing;;
  keep|take)
    for tool in mktemp head gzip chmod rm; do
      command -v $tool > /dev/null || { echo "portcheck-lacks $tool"; exit; };
    done;
    if test $verb = keep; then mkdir -p "$store" && test -O "$store" && room "$store"; fi;
    if test -z "$dir"; then verb=take; room "${TMPDIR:-/tmp}" /var/tmp "$HOME"; fi;
    if test -z "$dir"; then echo portcheck-nowhere; exit; fi;
    echo portcheck-send;
    file=$dir/portcheck;
    if head -c "$size" | gzip -dc > "$file" && chmod 700 "$file"; then
      if test $verb = keep; then
        if test -d "$store/$hash"; then rm -rf "$store/$hash"; fi;
        if mv -f "$file" "$store/$hash"; then
          leave; dir= ;
          ls -t "$store" | grep -v portcheck | tail -n +4 | while read -r old; do rm -f "$store/$old"; done;
          run "$store/$hash";
        fi;
      else run "$file" unlink; fi;
    fi;
    echo portcheck-broken;
    exit;;
  esac;
done
`

// reception is the conversation with the receptionist, or with the probe that a
// host has.
type reception struct {
	link      *sshlink.Link
	session   *sshlink.Session
	lines     *bufio.Reader
	installed string // where that is; empty for ours, which is sent
}

// unfit is a host that does not run our executable, or a connection that was
// lost before it did.
type unfit struct{ error }

func (u unfit) Unwrap() error { return u.error }

const (
	noise = 64 << 10 // bytes that a login shell may say before the script does
	// grace is for the last words of a command whose stdout has ended.
	grace = 2 * time.Second
)

// welcome starts the receptionist and returns what system it is on.
func welcome(ctx context.Context, link *sshlink.Link, sudo string, life time.Duration) (*reception, system, error) {
	command := fmt.Sprintf("exec sh -c '%s' portcheck '%s' %s", strings.Join(strings.Fields(receptionist), " "), sudo, seconds(life))
	session, err := link.Start(ctx, command)
	if err != nil {
		return nil, system{}, err
	}
	r := newReception(link, session, "")
	said, err := r.hear(ctx, "hello")
	if err != nil {
		r.dismiss(ctx)
		return nil, system{}, err
	}
	return r, parseSystem(said), nil
}

func newReception(link *sshlink.Link, session *sshlink.Session, installed string) *reception {
	// Who is to answer skips empty lines. To an SFTP server, which some hosts
	// start whatever the command is, they are a broken message: it ends, and
	// would else wait as long as we do.
	_, _ = io.WriteString(session, "\n\n\n\n") // if it fails, no answer comes
	return &reception{link, session, bufio.NewReaderSize(session, 64<<10), installed}
}

// visit starts the portcheck that a host has, by sudo if that is not empty.
func visit(ctx context.Context, link *sshlink.Link, path, sudo string, life time.Duration) (*reception, error) {
	command := fmt.Sprintf("exec %s %s probe --ready --for %s", sudo, quote(path), seconds(life))
	session, err := link.Start(ctx, command)
	if err != nil {
		return nil, err
	}
	r := newReception(link, session, path)
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d.Seconds())+1) + "s" }

// dismiss ends the receptionist, and waits for that: a host may allow one session
// at a time.
func (r *reception) dismiss(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	_ = r.session.CloseWrite() // it may have ended by itself, and how changes nothing
	_ = r.session.Wait(ctx)
	_ = r.session.Close()
}

// hear reads the receptionist's next line and returns what follows its word,
// which has to be one of those given; it is put before what follows if there
// are several.
func (r *reception) hear(ctx context.Context, words ...string) (string, error) {
	stop := context.AfterFunc(ctx, func() { _ = r.link.Close() }) // the read learns of it, whatever the host does
	defer stop()
	for left := noise; left > 0; {
		line, err := r.lines.ReadSlice('\n')
		left -= len(line)
		text, ours := strings.CutPrefix(strings.TrimRight(string(line), "\r\n"), "portcheck-")
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return "", unfit{r.ended(ctx, "")}
		case !ours:
			continue
		}
		word, rest, _ := strings.Cut(text, " ")
		for _, w := range words {
			if w == word && len(words) == 1 {
				return rest, nil
			}
			if w == word {
				return text, nil
			}
		}
		return "", unfit{r.ended(ctx, text)}
	}
	return "", unfit{fmt.Errorf("%sit says more than %d bytes that are none of ours", r.who(), noise)}
}

// who names the portcheck that a host has.
func (r *reception) who() string {
	if r.installed == "" {
		return ""
	}
	return r.installed + " (--remote-path) is no portcheck that answers: "
}

// ended is why the receptionist did not get further, after its last line if it
// has not hung up.
func (r *reception) ended(ctx context.Context, last string) error {
	word, status, _ := strings.Cut(last, " ")
	exit := &sshlink.ExitError{}
	if last == "" || word == "end" {
		ctx, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		if err := r.session.Wait(ctx); r.installed != "" && errors.As(err, &exit) {
			return fmt.Errorf("%s%w", r.who(), exit)
		}
	}
	said := strings.Join(strings.Fields(r.session.Said()), " ")
	if said != "" {
		said = ": " + said
	}
	switch {
	case last == "" && r.installed != "":
		return fmt.Errorf("%sit ended at once%s", r.who(), said)
	case word == "nowhere":
		return errors.New("there is no directory in which a program can be put and run (of TMPDIR or /tmp, /var/tmp and the home directory): they are read-only, full or mounted noexec")
	case word == "lacks":
		return fmt.Errorf("it has no %.20q, which is needed to take a program in", status)
	case word == "broken":
		return fmt.Errorf("the program could not be unpacked there%s", said)
	case word == "end":
		return fmt.Errorf("the program could not be run there (exit status %s)%s", status, said)
	case last != "":
		return fmt.Errorf("%sit says %.80q out of turn", r.who(), last)
	case said != "":
		return fmt.Errorf("it does not run our commands%s", said)
	}
	return errors.New("it does not run our commands: a forced command, or no shell")
}

// dispatch has the agent run there: a kept one if it is the same, else one that
// is sent.
func (r *reception) dispatch(ctx context.Context, a *agent, keep bool) error {
	hash, verb := "-", "take"
	if keep {
		verb = "keep"
		var err error
		if hash, err = a.hash(); err != nil {
			return err
		}
		if err := r.say(ctx, "kept "+hash); err != nil {
			return err
		}
		said, err := r.hear(ctx, "run", "missing")
		if err != nil {
			return err
		}
		if said == "run" {
			return r.ready(ctx)
		}
	}
	packed, err := a.packed()
	if err != nil {
		return err
	}
	if err := r.say(ctx, fmt.Sprintf("%s %s %d", verb, hash, len(packed))); err != nil {
		return err
	}
	if _, err := r.hear(ctx, "send"); err != nil {
		return err
	}
	go func() { _, _ = r.session.Write(packed) }() // if it fails, no answer comes
	if _, err := r.hear(ctx, "run"); err != nil {
		return err
	}
	return r.ready(ctx)
}

// say sends a line to the receptionist. It is small enough to be taken at once.
func (r *reception) say(ctx context.Context, line string) error {
	if _, err := io.WriteString(r.session, line+"\n"); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return unfit{r.ended(ctx, "")}
	}
	return nil
}

// ready waits until the agent takes requests.
func (r *reception) ready(ctx context.Context) error {
	version, err := r.hear(ctx, "ready")
	if err == nil && version != strconv.Itoa(wire.Version) {
		which := "the portcheck that was sent"
		if r.installed != "" {
			which = r.installed + " (--remote-path)"
		}
		return fmt.Errorf("%s speaks version %.20q of the conversation, and this portcheck version %d: use the same release at both ends", which, version, wire.Version)
	}
	return err
}

// parseSystem reads `uname -sm`.
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
