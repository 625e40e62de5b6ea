package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/report"
)

// endless is how long the ports of a command are held at most: they are free again when
// it ends.
const endless = 366 * 24 * time.Hour

func (a *app) exec() *cobra.Command {
	o := &assignOptions{}
	var passSockets bool
	cmd := &cobra.Command{
		Use:   "exec [flags] [MANIFEST...] -- COMMAND [ARG...]",
		Short: "Run a command with ports of its own",
		Long: `Chooses ports as assign does, sets their variables, and becomes COMMAND: signals and
the exit code are the command's own. The ports are held until it ends, however it
ends. Each exec is a job of its own, so that two of them never have the same port.

PORTCHECK_PORTS has what assign -f json prints. With --pass-sockets the command gets
sockets that are bound already, and listen for tcp, as systemd passes them: their
number is in LISTEN_FDS, and the names of their needs are in LISTEN_FDNAMES.`,
		Example: `  portcheck exec -- npm test
  portcheck exec shop.yml -- sh -c './server --port "$WEB_PORT"'
  portcheck exec -p 8080 --range 8080-8099 --pass-sockets -- ./server`,
		Args: cobra.ArbitraryArgs,
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(a.flagError(cmd, err), "the command and its flags come after --, as in `portcheck exec -- npm test`")
	})
	f := cmd.Flags()
	f.SortFlags = false
	o.assignFlags(f)
	f.BoolVar(&passSockets, "pass-sockets", false, "hand over bound sockets (LISTEN_FDS)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		at := cmd.ArgsLenAtDash()
		if at < 0 || at == len(args) {
			hint := "as in `portcheck exec -- npm test`"
			if at < 0 {
				if i := slices.IndexFunc(args, isProgram); i >= 0 {
					words := slices.Insert(slices.Clone(args), i, "--")
					hint = "did you mean `portcheck exec " + givenFlags(cmd) + safeWords(strings.Join(words, " ")) + "`?"
				}
			}
			return usageError(errors.New("no command to run: name it after --"), hint)
		}
		return a.runExec(cmd.Context(), args[:at], args[at:], o, passSockets)
	}
	return cmd
}

// isProgram reports whether a word is a command that can be run.
func isProgram(word string) bool {
	_, err := exec.LookPath(word)
	return err == nil
}

func (a *app) runExec(ctx context.Context, manifests, command []string, o *assignOptions, passSockets bool) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return usageError(fmt.Errorf("the command can't be run: %w", err), "")
	}
	o.untilExit, o.lifetime, o.localOnly = os.Getpid(), endless, "exec runs its command here"
	needs, targets, err := a.readAssignNeeds(ctx, manifests, o)
	if err != nil {
		return err
	}
	assignment, err := a.choose(ctx, needs, targets, o, true)
	if err != nil {
		return err
	}
	line, err := report.AssignmentLine(assignment)
	if err != nil {
		return unknownError(err)
	}
	a.env["PORTCHECK_PORTS"], a.env[ci.JobVariable] = string(line), assignment.Lease.Job
	for _, p := range assignment.Ports {
		a.env[p.Env] = fmt.Sprint(p.Port)
	}
	if o.onlyPort(assignment) {
		a.env["PORT"] = fmt.Sprint(assignment.Ports[0].Port)
	}
	var sockets []*os.File
	if passSockets {
		var names []string
		for i, n := range needs {
			opened, err := openSockets(ctx, n, assignment.Ports[i])
			if err != nil {
				return unknownError(fmt.Errorf("%s: its socket can't be opened: %w", n.Name, err))
			}
			for range opened {
				names = append(names, strings.ReplaceAll(n.Name, ":", "_"))
			}
			sockets = append(sockets, opened...)
		}
		a.env["LISTEN_FDS"], a.env["LISTEN_PID"], a.env["LISTEN_FDNAMES"] = fmt.Sprint(len(sockets)), fmt.Sprint(os.Getpid()), strings.Join(names, ":")
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	env := a.environ()
	err = become(path, command, env, sockets)
	if errors.Is(err, syscall.E2BIG) {
		err = errors.New(tooLong(command, env))
	}
	return unknownError(fmt.Errorf("%s can't be run: %w", report.Safe(path), err))
}

// tooLong says what of a command is longer than the kernel takes, and what to do. Linux
// has a limit for each argument and variable, and one for all of them (execve(2)).
func tooLong(command, env []string) string {
	const fewer = "ask for fewer ports in one exec, or for blocks of them (8000-8099)"
	longest := 32 * os.Getpagesize() // MAX_ARG_STRLEN, with the byte at the end
	sum := 0
	for i, text := range slices.Concat(env, command) {
		sum += len(text) + 1
		if runtime.GOOS != "linux" || len(text) < longest {
			continue
		}
		if i >= len(env) {
			return fmt.Sprintf("an argument has %d bytes, and the kernel takes less than %d", len(text), longest)
		}
		name, _, _ := strings.Cut(text, "=")
		return fmt.Sprintf("the variable %s has %d bytes, and the kernel takes less than %d: %s", report.Safe(name), len(text), longest, fewer)
	}
	text := fmt.Sprintf("its arguments and variables have %d bytes together, more than the kernel takes: %s", sum, fewer)
	if runtime.GOOS == "linux" {
		text += ", or raise the limit of the stack (`ulimit -s`), a quarter of which is theirs"
	}
	return text
}

// onlyPort reports whether the command gets one port, by --port. It has no name of
// somebody's choice, so the variable that most servers read is PORT.
func (o *assignOptions) onlyPort(a check.Assignment) bool {
	return len(a.Ports) == 1 && len(o.ports) == 1
}

// openSockets opens the sockets of a need on its port as servers do. Those for tcp
// listen.
func openSockets(ctx context.Context, n check.Need, assigned check.AssignedPort) ([]*os.File, error) {
	var all []*os.File
	for p := int(assigned.Port); p <= int(max(assigned.Port, assigned.PortLast)); p++ {
		for _, proto := range n.Protocols {
			for _, e := range n.Binding(proto).At(uint16(p)) {
				f, err := openSocket(ctx, e, n.Binding(proto))
				if err != nil {
					return nil, err
				}
				if f != nil {
					all = append(all, f)
				}
			}
		}
	}
	return all, nil
}
