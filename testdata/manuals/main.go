// Manuals writes the man pages of portcheck and its completions of shells: what a
// release has beside the executable. It is a module of its own, so that nothing of it
// is in portcheck.
//
//	SOURCE_DATE_EPOCH=1700000000 go run -C testdata/manuals . DIRECTORY
package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/org/portcheck/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: manuals DIRECTORY")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "manuals:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	pages, completions := filepath.Join(dir, "man"), filepath.Join(dir, "completions")
	for _, d := range []string{pages, completions} {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	root := cli.Command()
	root.InitDefaultHelpCmd()
	for shell, generate := range map[string]func(string) error{
		"portcheck.bash": func(name string) error { return root.GenBashCompletionFileV2(name, true) },
		"_portcheck":     root.GenZshCompletionFile,
		"portcheck.fish": func(name string) error { return root.GenFishCompletionFile(name, true) },
	} {
		if err := generate(filepath.Join(completions, shell)); err != nil {
			return err
		}
	}
	return writePages(root, pages)
}

// writePages writes a page for a command and for each of its commands. GenManTree
// does not compress them, which Debian's policy asks for.
func writePages(cmd *cobra.Command, dir string) error {
	for _, c := range cmd.Commands() {
		if !c.IsAvailableCommand() || c.IsAdditionalHelpTopicCommand() || cmd.Name() == "completion" {
			continue
		}
		if err := writePages(c, dir); err != nil {
			return err
		}
	}
	cmd.DisableAutoGenTag = true
	var page bytes.Buffer
	header := &doc.GenManHeader{Section: "1", Source: "portcheck", Manual: "portcheck"} // its date is SOURCE_DATE_EPOCH
	if err := doc.GenMan(cmd, header, &page); err != nil {
		return err
	}
	const next = ".SH EXAMPLE" // every command has one
	text := bytes.Replace(page.Bytes(), []byte(next), []byte(exitStatus(cmd)+next), 1)
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression) // without name and time
	if err != nil {
		return err
	}
	if _, err := z.Write(text); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1.gz"
	return os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644)
}

// exitStatus returns the section for exit codes, which the generator does not have.
func exitStatus(cmd *cobra.Command) string {
	var b strings.Builder
	b.WriteString(".SH EXIT STATUS\n")
	for _, c := range cli.ExitMeanings(cmd) {
		fmt.Fprintf(&b, ".TP\n%s\n%s\n", c.Codes, strings.ReplaceAll(c.Meaning, "-", `\-`))
	}
	b.WriteString(".PP\n")
	return b.String()
}
