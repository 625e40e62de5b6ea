package host

import (
	"errors"
	"os/user"
	"strconv"
)

// deviceName returns the name of the interface of a zone, which is a name or an
// index.
func deviceName(zone string) string {
	index, err := strconv.Atoi(zone)
	if err != nil {
		return zone
	}
	name, err := deviceNameOf(index)
	if err != nil {
		return zone
	}
	return name
}

// userName returns the name of a uid. It is empty, without an error, for a uid
// that no database has.
func userName(uid int) (string, error) {
	u, err := user.LookupId(strconv.Itoa(uid))
	var unknown user.UnknownUserIdError
	if errors.As(err, &unknown) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return u.Username, nil
}

// ErrnoName returns the symbolic errno of an error, such as "ENOENT", or the text
// of an error that has no errno.
func ErrnoName(err error) string {
	_, name := classify("", err)
	return name
}
