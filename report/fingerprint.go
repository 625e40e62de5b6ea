package report

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// fingerprints name findings so that the next report gives the same finding
// the same name, and no two of one report share it. Lines, pids and messages of
// results change while a finding stays; of a problem the message is all there is.
type fingerprints map[string]int

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
