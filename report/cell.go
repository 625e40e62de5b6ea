package report

import "strings"

// markup maps what GitHub's Markdown gives a meaning to its plain form.
var markup = strings.NewReplacer(
	"&", "&amp;", "<", "&lt;", ">", "&gt;", "|", "&#124;", "$", "&#36;",
	"@", "@&#8203;", // a space of no width: an entity alone does not stop a mention
	"://", "&#58;//", "www.", "www&#46;",
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "~", `\~`, "#", `\#`, "[", `\[`, "]", `\]`,
)

// cell is text from outside as Markdown shows it, in a table or a list: safe,
// and with nothing that GitHub would take for markup, a link or a mention.
func cell(s string) string { return markup.Replace(Safe(s)) }

// cellSentence is cell for a message, which may quote several names.
func cellSentence(s string) string { return markup.Replace(sentence(s)) }
