package cli

import (
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Command returns the command line for a generator of documents. Its commands read
// nothing, and write nowhere.
func Command() *cobra.Command {
	return (&app{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}).allCommands()
}
