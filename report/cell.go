package report

import (
	"strings"

	"github.com/org/portcheck/check"
)

// markup replaces what is markup in GitHub's Markdown by the same as text.
var markup = strings.NewReplacer(
	"&", "&amp;", "<", "&lt;", ">", "&gt;", "|", "&#124;", "$", "&#36;",
	"@", "@&#8203;", // a space of no width: an entity alone does not stop a mention
	"://", "&#58;//", "www.", "www&#46;",
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "~", `\~`, "#", `\#`, "[", `\[`, "]", `\]`,
)

// cell makes text from outside safe for a table or a list in Markdown, where
// GitHub takes none of it for markup, a link or a mention.
func cell(s string) string { return markup.Replace(Safe(s)) }

// cellSentence is cell for a message, which may quote several names.
func cellSentence(s string) string { return markup.Replace(sentence(s)) }

// cellHint is cellSentence for a hint, whose commands become code.
func cellHint(h check.Hint) string { return hintMarkup(h, "", markup.Replace) }
