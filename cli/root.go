package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
	"github.com/org/portcheck/report"
)

// commands returns what makes each command, by its name.
func (a *app) commands() map[string]func() *cobra.Command {
	return map[string]func() *cobra.Command{
		"check": a.check, "lint": a.lint, "init": a.init, "list": a.list, "watch": a.watch, "free": a.free,
		"assign": a.assign, "exec": a.exec, "verify": a.verify, "leases": a.leases, "release": a.release,
		"merge": a.merge, "diff": a.diff, "version": a.version, "probe": a.probe, "keep": a.keep, "action": a.action,
	}
}

// aboutAll are the commands that show other ones.
var aboutAll = []string{"help", "completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}

// root returns the command of a command line, with the commands that it names. The flags
// of all commands would take a third of the start.
func (a *app) root(args []string) *cobra.Command {
	if slices.ContainsFunc(args, func(arg string) bool { return slices.Contains(aboutAll, arg) }) {
		return a.allCommands()
	}
	root, commands := a.bareRoot(), a.commands()
	if len(args) == 0 || commands[args[0]] == nil {
		a.rootFlags(root)
	}
	for _, arg := range args {
		if command := commands[arg]; command != nil {
			root.AddCommand(command())
			delete(commands, arg)
		}
	}
	// Cobra adds a command for completion to each root that has commands.
	root.CompletionOptions.DisableDefaultCmd = true
	return root
}

// allCommands returns the root of all commands.
func (a *app) allCommands() *cobra.Command {
	root := a.bareRoot()
	a.rootFlags(root)
	for _, command := range a.commands() {
		root.AddCommand(command())
	}
	addCompletion(root)
	a.completeValues(root)
	// Beside its commands root takes manifests: a shell completes files if no command fits.
	root.ValidArgsFunction = func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return root
}

// rootFlags gives root what it takes where no command is named.
func (a *app) rootFlags(root *cobra.Command) {
	a.checkFlags(root)
	a.versionFlag(root)
}

// bareRoot returns the root without flags and commands.
func (a *app) bareRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "portcheck [check] [flags] [MANIFEST...]",
		Short: "Find out before a deploy which of the ports that an app needs are taken, by whom, and what to use instead",
		Long: `portcheck reads a YAML manifest of the ports that an app needs and tries each one
as the app would use it. It shows which process holds a taken port, and suggests
others. It changes nothing on the machine that it checks.

Without a MANIFEST it looks for portcheck.yml and similar names in the current
directory, else for the Compose files that Compose would read there.`,
		Example: `  portcheck                         check the manifest in this directory
  portcheck -p 8080 -p 53/udp       check two ports without a manifest
  portcheck -f json deploy/*.yml    check several manifests and print JSON
  portcheck init                    write a portcheck.yml
  portcheck lint -r .               find conflicts in manifests, open no socket
  portcheck list                    list the listening sockets of this machine
  portcheck free --range 8000-8099  print a port that can be bound now`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
	}
	root.SetOut(a.stdout) // before addCompletion, which keeps it
	root.SetErr(a.stderr)
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveDefault)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(a.flagError(cmd, err), "see `"+cmd.CommandPath()+" --help`")
	})
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.HasParent() && cmd.Name() != "check" {
			awaitSignals(cmd.Context()) // a check does so when it has read its needs
		}
		return refuseEmpty(cmd)
	}
	a.setHelp(root)
	return root
}

// flagError rewords an error of pflag: it adds the flag that was probably meant,
// or what is wrong with a value.
func (a *app) flagError(cmd *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	if errors.As(err, &value) {
		f, cause := value.GetFlag(), value.Unwrap()
		if f.Value.Type() == "int" {
			cause = errors.New("want a number")
		}
		if right := strings.NewReplacer("..", "-", " - ", "-", ":", "-", " ", ",").Replace(value.GetValue()); f.Value.Type() == "ports" && right != value.GetValue() {
			if _, err := port.ParseSet(right); err == nil {
				cause = fmt.Errorf("is not how ports are given; did you mean %q?", right)
				return fmt.Errorf("--%s %q %w", f.Name, value.GetValue(), cause)
			}
		}
		return fmt.Errorf("--%s %w", f.Name, about(value.GetValue(), cause))
	}
	var bare *pflag.ValueRequiredError
	if errors.As(err, &bare) {
		flag := dashed(bare.GetSpecifiedName())
		switch sample, _ := pflag.UnquoteUsage(bare.GetFlag()); sample {
		case "string": // its text names no sample
			return fmt.Errorf("%s needs a value", flag)
		case "duration":
			return fmt.Errorf("%s needs a value, as in %[1]s 30s", flag)
		default:
			return fmt.Errorf("%s needs a value, as in %[1]s %s", flag, sample)
		}
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		name := unknown.GetSpecifiedName()
		if hint := otherFlag(cmd, name); hint != "" {
			return fmt.Errorf("unknown flag %s; did you mean %q?", dashed(name), hint)
		}
		switch have := a.commandsWith(name); len(have) {
		case 0:
			if slices.Contains(keysAlone, name) {
				return fmt.Errorf("unknown flag %s: it is a key of a need in a manifest, which `portcheck init` writes", dashed(name))
			}
		case 1:
			return fmt.Errorf("unknown flag %s: %s has it, %s has not", dashed(name), have[0], cmd.CommandPath())
		default:
			return fmt.Errorf("unknown flag %s: %s have it, %s has not", dashed(name), strings.Join(have, ", "), cmd.CommandPath())
		}
	}
	word, found := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !found {
		return err
	}
	if !cmd.HasParent() && slices.Contains(commandNames, word) {
		return fmt.Errorf("unknown flag --%s; did you mean the command %q?", word, word)
	}
	if hint := config.DidYouMean("--"+word, flagNames(cmd)); hint != "" {
		return fmt.Errorf("unknown flag --%s; %s", report.Safe(word), hint)
	}
	if hint := config.DidYouMean(word, keysAlone); hint != "" {
		return fmt.Errorf("unknown flag --%s; %s That is a key of a need in a manifest, which `portcheck init` writes", report.Safe(word), hint)
	}
	return err
}

// isFile reports whether a name is that of a file.
func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// commandsWith returns the first of the commands that have a flag.
func (a *app) commandsWith(name string) []string {
	const most = 3
	var all []string
	commands := a.commands()
	for _, command := range commandNames {
		if commands[command] == nil || len(all) == most {
			continue
		}
		flags := commands[command]().Flags()
		if len(name) == 1 && flags.ShorthandLookup(name) != nil || len(name) > 1 && flags.Lookup(name) != nil {
			all = append(all, command)
		}
	}
	return all
}

// dashed returns a flag as it is written.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + report.Safe(name)
	}
	return "--" + report.Safe(name)
}

// keysAlone are keys of a manifest's needs that are no flags.
var keysAlone = []string{"owner", "severity", "socket", "remote", "guard", "env"}

// otherFlag returns the flag of a command that does what a flag of many other programs
// does, or "".
func otherFlag(cmd *cobra.Command, name string) string {
	formats := slices.Concat(report.Names(), report.AssignmentFormats.Names())
	if f := cmd.Flags().Lookup("format"); f != nil && slices.Contains(formats, name) && slices.Contains(strings.FieldsFunc(f.Usage, func(c rune) bool { return strings.ContainsRune(" ,:", c) }), name) {
		return "-f " + name
	}
	if name == "udp" || name == "tcp" {
		switch {
		case cmd.Flags().Lookup("protocol") != nil:
			return "--protocol " + name
		case cmd.Flags().Lookup("port") != nil:
			return "-p PORT/" + name
		}
	}
	if (name == "o" || name == "output") && cmd.Flags().Lookup("format") != nil && cmd.Flags().Lookup("output") == nil {
		return "-f json > FILE"
	}
	if (name == "p" || name == "port") && cmd.Flags().Lookup("range") != nil && cmd.Flags().Lookup("port") == nil {
		return "--range"
	}
	if lower := strings.ToLower(name); len(name) == 1 && lower != name && cmd.Flags().ShorthandLookup(lower) != nil {
		return "-" + lower
	}
	return ""
}

// noArgs is the Args function of commands without arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see `" + cmd.CommandPath() + " --help`"
	if n, err := strconv.Atoi(args[0]); err == nil && n > 0 && n < 1024 && cmd.Flags().Lookup("count") != nil {
		hint = fmt.Sprintf("did you mean `%s --range 8000-8099 -n %d`, or `%s --range %d` for that port?", cmd.CommandPath(), n, cmd.CommandPath(), n)
	} else if _, err := port.ParseSet(args[0]); err == nil && cmd.Flags().Lookup("range") != nil {
		hint = "did you mean `" + cmd.CommandPath() + " --range " + report.Safe(args[0]) + "`?"
	} else if isPort(args[0]) && cmd.Flags().Lookup("port") != nil {
		hint = "did you mean `" + cmd.CommandPath() + " -p " + report.Safe(args[0]) + "`?"
	} else if cmd.Flags().Lookup("from") != nil && isFile(args[0]) {
		hint = "did you mean `" + cmd.CommandPath() + " --from " + report.Safe(args[0]) + "`?"
	}
	return usageError(fmt.Errorf("%s takes no arguments, got %q", cmd.CommandPath(), args[0]), hint)
}
