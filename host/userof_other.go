//go:build !linux

package host

// userOf returns the name of a user, "" for a uid that has none.
func userOf(uid int) (string, error) { return userName(uid) }
