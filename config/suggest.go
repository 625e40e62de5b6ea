package config

import (
	"fmt"
	"strings"
)

// suggestMax is the length in bytes of the longest words that are compared, since
// the cost is quadratic.
const suggestMax = 32

// DidYouMean returns `did you mean "port"?` for the allowed word that is most
// similar to a mistyped one, or "" if none is similar.
func DidYouMean(word string, allowed []string) string {
	best, least := "", suggestMax
	for _, a := range allowed {
		if len(word) > suggestMax || len(a) > suggestMax {
			continue
		}
		d := distance(strings.ToLower(word), strings.ToLower(a))
		if len(word) >= 3 && strings.HasPrefix(a, strings.ToLower(word)) {
			d = min(d, 1)
		}
		if d < least && d <= max(1, max(len(word), len(a))/3) {
			best, least = a, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %s?", quote(best))
}

// distance returns the number of edits between two words of at most suggestMax
// bytes: a byte inserted, removed or replaced, or two adjacent bytes swapped.
func distance(a, b string) int {
	var rows [3][suggestMax + 1]int // the last three of the Wagner-Fischer table
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row, last, before := &rows[i%3], &rows[(i+2)%3], &rows[(i+1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return rows[len(a)%3][len(b)]
}
