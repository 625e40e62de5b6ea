package config

// The YAML library takes time and memory for each value and each comment. For some
// texts its time grows with the square of their length. These limits hold for any
// YAML file, before the library reads it, whatever features a source of needs allows.
// No file that people write comes near them.
const (
	maxMarks    = 100_000
	maxAllMarks = 1_000_000 // of a run: 3 s for the library
	maxIndent   = 400       // 50 levels of 8 columns
)

// limitError is the error for a file that is above a limit of effort.
type limitError struct {
	kind kind
	at   int // byte offset
}

func (e limitError) Error() string { return string(e.kind) }

// effort returns the number of marks in a YAML text: commas, colons, question
// marks, opening brackets, dashes before a blank, and starts of comments. The text
// has at most two nodes for each, and one more. Marks in quotes and in comments count
// as well: where these end is known only to a full parser.
//
// The error is a limitError. Only the start of a line opens blocks, with each
// indicator and with the first text, and each block is further to the right than the
// one around it. So maxIndent limits their nesting: the library's time for comments
// grows with their number times the nesting.
//
// The line breaks are those that checkText allows.
func effort(data []byte) (marks int, err error) {
	start, leading := 0, true
	for i, c := range data {
		blankBefore := i == start || isBlank(data[i-1])
		blankAfter := i+1 == len(data) || isBlank(data[i+1]) || isBreak(data[i+1])
		switch {
		case isBreak(c):
			start, leading = i+1, true
			continue
		case isBlank(c):
			continue
		case leading && i-start > maxIndent:
			return marks, limitError{tooIndented, i}
		case c == '%' && i == start && len(data)-i >= len("%TAG") && string(data[i:i+len("%TAG")]) == "%TAG":
			// The library compares each with all before it.
			return marks, limitError{tagDirective, i}
		case c == ',', c == ':', c == '?', c == '[', c == '{', c == '-' && blankAfter, c == '#' && blankBefore:
			if marks++; marks > maxMarks {
				return marks, limitError{tooManyMarks, i}
			}
		}
		leading = leading && blankAfter && (c == '-' || c == '?' || c == ':')
	}
	return marks, nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func isBreak(c byte) bool { return c == '\n' || c == '\r' }
