package host

import (
	"errors"
	"net"
	"os/user"
	"strconv"
)

// deviceName is the name of the interface that a zone names by name or index.
func deviceName(zone string) string {
	index, err := strconv.Atoi(zone)
	if err != nil {
		return zone
	}
	device, err := net.InterfaceByIndex(index)
	if err != nil {
		return zone
	}
	return device.Name
}

// userName names a uid. The empty name of a uid that no database knows is no
// error.
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

// ErrnoName is the symbolic errno of an error, "ENOENT"; of one without errno its
// own words.
func ErrnoName(err error) string {
	_, name := classify("", err)
	return name
}
