//go:build !linux

package host

import "os/user"

// userOf returns the name of a user, "" for a uid that has none. Windows has no uid: -1 is
// the user of this process.
func userOf(uid int) (string, error) {
	if uid >= 0 {
		return userName(uid)
	}
	u, err := user.Current()
	if err != nil {
		return "", err
	}
	return u.Username, nil
}
