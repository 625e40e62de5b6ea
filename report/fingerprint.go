package report

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// fingerprints makes fingerprints that are unique in a report and the same in
// the next one. Lines, pids and messages of results change while a finding
// stays the same, and are not part of them. A problem has only its message.
type fingerprints map[string]int

// of returns the fingerprint of the next finding.
func (seen fingerprints) of(f finding) string {
	key := f.id + "\x00" + f.code
	if f.id == "" {
		key = f.at.File + "\x00" + f.code + "\x00" + f.message
	}
	seen[key]++
	if n := seen[key]; n > 1 {
		key += "\x00" + strconv.Itoa(n)
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
