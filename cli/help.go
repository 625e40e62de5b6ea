package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/report"
)

const (
	docsURL      = "https://github.com/org/portcheck/tree/main/docs"
	helpWidth    = 80 // columns where there is no terminal
	minHelpWidth = 40 // columns: a narrower text is not readable
)

// flagGroup is the heading of flags in the help.
type flagGroup string

// The groups, in the order of the help.
const (
	groupNone         flagGroup = "Flags"
	groupWhat         flagGroup = "What is checked"
	groupWhere        flagGroup = "Where"
	groupAlternatives flagGroup = "Alternatives"
	groupReport       flagGroup = "How it is reported"
	groupCompose      flagGroup = "Compose files"
	groupSSH          flagGroup = "Hosts by SSH"
	groupOther        flagGroup = "Other"
)

var flagGroups = []flagGroup{groupNone, groupWhat, groupWhere, groupAlternatives, groupReport, groupCompose, groupSSH, groupOther}

const groupAnnotation = "portcheck_group"

// addTo puts flags that have no group yet into this one. They share their annotations,
// which nothing else sets.
func (g flagGroup) addTo(f *pflag.FlagSet) {
	group := map[string][]string{groupAnnotation: {string(g)}}
	f.VisitAll(func(flag *pflag.Flag) {
		if flag.Annotations == nil {
			flag.Annotations = group
		}
	})
}

func groupOf(f *pflag.Flag) flagGroup {
	switch {
	case f.Annotations[groupAnnotation] != nil:
		return flagGroup(f.Annotations[groupAnnotation][0])
	case f.Name == "help" || f.Name == "version":
		return groupOther
	}
	return groupNone
}

// setHelp gives root, and so every command, the help of this file.
func (a *app) setHelp(root *cobra.Command) {
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		// cmd may have been made without the other commands.
		if found, _, err := a.allCommands().Find(strings.Fields(cmd.CommandPath())[1:]); err == nil {
			cmd = found
		}
		cmd.InitDefaultHelpFlag()                                       // the flags of cmd have not been parsed
		_, _ = io.WriteString(a.stdout, helpText(cmd, a.helpColumns())) // a reader that has gone needs no help
	})
	root.SetHelpCommand(a.help())
}

// helpColumns returns the width of help.
func (a *app) helpColumns() int {
	if width := a.width(a.stdout); width > 0 {
		return max(width, minHelpWidth)
	}
	return helpWidth
}

func (a *app) help() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Help about any command",
		Long:    "Prints the help of a command, or of portcheck.",
		Example: "  portcheck help lint",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var all []cobra.Completion
			if found, _, err := cmd.Root().Find(args); err == nil {
				for _, c := range found.Commands() {
					if c.IsAvailableCommand() {
						all = append(all, cobra.CompletionWithDesc(c.Name(), c.Short))
					}
				}
			}
			return all, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			found := cmd.Root()
			for i, arg := range args {
				next := slices.IndexFunc(found.Commands(), func(c *cobra.Command) bool { return c.Name() == arg })
				if next < 0 {
					names := commandNames
					if i > 0 {
						names = nil
					}
					hint := config.DidYouMean(arg, names)
					if hint == "" {
						hint = "see `" + found.CommandPath() + " --help`"
					}
					return usageError(fmt.Errorf("%s has no command %q", found.CommandPath(), arg), hint)
				}
				found = found.Commands()[next]
			}
			return found.Help()
		},
	}
}

// helpText returns the help of a command in lines of at most width columns, except
// for words that are longer.
func helpText(cmd *cobra.Command, width int) string {
	var b strings.Builder
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	b.WriteString(wrapped(long, width))
	section := func(title string) { fmt.Fprintf(&b, "\n%s:\n", title) }
	section("Usage")
	if cmd.Runnable() {
		hanging(&b, "  ", cmd.UseLine(), width)
	}
	if cmd.HasAvailableSubCommands() {
		hanging(&b, "  ", cmd.CommandPath()+" [command]", width)
	}
	if cmd.Example != "" {
		section("Examples")
		writeCommands(&b, strings.TrimRight(cmd.Example, "\n"), width)
	}
	if cmd.HasAvailableSubCommands() {
		section("Commands")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() || c.Name() == "help" {
				hanging(&b, fmt.Sprintf("  %-*s ", cmd.NamePadding(), c.Name()), c.Short, width)
			}
		}
	}
	groups := map[flagGroup]*pflag.FlagSet{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		g := groupOf(f)
		if groups[g] == nil {
			groups[g] = pflag.NewFlagSet("", pflag.ContinueOnError)
			groups[g].SortFlags = false
		}
		groups[g].AddFlag(f)
	})
	if len(groups) == 1 { // -h alone
		groups = map[flagGroup]*pflag.FlagSet{groupNone: cmd.Flags()}
	}
	for _, g := range flagGroups {
		if groups[g] != nil && groups[g].HasAvailableFlags() {
			section(string(g))
			writeFlags(&b, groups[g], width)
		}
	}
	section("Exit codes")
	for _, c := range ExitMeanings(cmd) {
		hanging(&b, fmt.Sprintf("  %-9s ", c.Codes), c.Meaning, width)
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteByte('\n')
		hanging(&b, "", fmt.Sprintf("`%s COMMAND --help` has more about a command.", cmd.CommandPath()), width)
	}
	docs := "\nDocumentation: "
	if len(docs+docsURL) > width+1 {
		docs = "\nDocumentation:\n"
	}
	b.WriteString(docs + docsURL + "\n")
	return b.String()
}

// writeFlags writes the flags of a set, each with its text beside it, or below it
// where there is no room.
func writeFlags(b *strings.Builder, flags *pflag.FlagSet, width int) {
	var names, texts []string
	longest := 0
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name, text := flagTexts(f)
		names, texts = append(names, name), append(texts, text)
		longest = max(longest, len(name))
	})
	const gap, below = 3, 10 // columns
	for i, name := range names {
		if longest+gap <= width/2 {
			hanging(b, fmt.Sprintf("%-*s", longest+gap, name), texts[i], width)
			continue
		}
		b.WriteString(name + "\n")
		hanging(b, strings.Repeat(" ", below), texts[i], width)
	}
}

// flagTexts returns a flag with its value, and what it does.
func flagTexts(f *pflag.Flag) (name, text string) {
	value, text := pflag.UnquoteUsage(f)
	name = "      --" + f.Name
	if f.Shorthand != "" {
		name = "  -" + f.Shorthand + ", --" + f.Name
	}
	switch {
	case value != "" && f.NoOptDefVal != "":
		name += "[=" + value + "]"
		text += "; alone it means " + f.NoOptDefVal
	case value != "":
		name += " " + value
	}
	switch f.DefValue {
	case "", "0", "false", "[]": // it does nothing
	default:
		text += fmt.Sprintf(" (default %s)", strings.Trim(f.DefValue, "[]"))
	}
	return name, text
}

// wrapped breaks the paragraphs of a text. A line that starts with a blank is a
// command.
func wrapped(text string, width int) string {
	var b, paragraph strings.Builder
	flush := func() {
		if paragraph.Len() > 0 {
			for _, line := range report.Wrap(paragraph.String(), width) {
				b.WriteString(line + "\n")
			}
			paragraph.Reset()
		}
	}
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		switch {
		case line == "\n":
			flush()
			b.WriteString(line)
		case line[0] == ' ' || line[0] == '\t':
			flush()
			writeCommands(&b, strings.TrimSuffix(line, "\n"), width)
		default:
			paragraph.WriteString(strings.TrimSuffix(line, "\n") + " ")
		}
	}
	flush()
	return b.String()
}

// hanging writes a text beside start, and further lines below it.
func hanging(b *strings.Builder, start, text string, width int) {
	for _, line := range report.Wrap(text, width-len(start)) {
		b.WriteString(start + line + "\n")
		start = strings.Repeat(" ", len(start))
	}
}

// writeCommands writes lines of a shell so that each can still be copied: a command
// that is too long goes on after a backslash. What it does, after several blanks, is
// then on a line of its own.
func writeCommands(b *strings.Builder, lines string, width int) {
	const indent, deeper = "  ", "      "
	for line := range strings.SplitSeq(lines, "\n") {
		line = strings.TrimSpace(line)
		if len(indent+line) <= width {
			b.WriteString(indent + line + "\n")
			continue
		}
		command, does, _ := strings.Cut(line, "  ")
		text := indent
		for i, word := range shellWords(command) {
			switch {
			case i == 0:
				text += word
			case len(text)+len(" ")+len(word)+len(` \`) <= width:
				text += " " + word
			default:
				b.WriteString(text + " \\\n")
				text = deeper + word
			}
		}
		b.WriteString(text + "\n")
		if does != "" {
			hanging(b, deeper, strings.TrimSpace(does), width)
		}
	}
}

// shellWords splits a command at the blanks that are not in quotes or parentheses.
func shellWords(command string) []string {
	var words []string
	var quote rune
	depth, start := 0, 0
	for i, c := range command {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ' ' && depth == 0:
			words = append(words, command[start:i])
			start = i + 1
		}
	}
	return append(words, command[start:])
}
