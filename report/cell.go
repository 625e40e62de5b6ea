package report

import "strings"

// cell is text from outside as Markdown shows it, in a table or a list: safe,
// and with nothing that GitHub would take for markup, a link or a mention.
func cell(s string) string { return markdownEscaper().Replace(Safe(s)) }

// cellSentence is cell for a message, which may quote several names.
func cellSentence(s string) string { return markdownEscaper().Replace(sentence(s)) }

func markdownEscaper() *strings.Replacer {
	const invisible = "&#8203;" // an entity alone does not stop a mention
	return strings.NewReplacer(
		"&", "&amp;", "<", "&lt;", ">", "&gt;", "|", "&#124;", "$", "&#36;",
		"@", "@"+invisible, "://", "&#58;//", "www.", "www&#46;",
		`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "~", `\~`, "#", `\#`, "[", `\[`, "]", `\]`,
	)
}
