//go:build !linux

package host

import (
	"errors"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
)

// asUser calls fn with the uid of this process. It returns an error for any other
// user: only Linux can change the user of a single thread.
func asUser(name string, fn func(uid int)) (op string, err error) {
	if name != "" {
		own, err := isOwnUser(name)
		if err != nil {
			return "look up user", err
		}
		if !own {
			return "setresuid", syscall.ENOTSUP
		}
	}
	fn(os.Geteuid())
	return "", nil
}

// UnknownUser reports whether the machine surely has no user of a name.
func UnknownUser(name string) bool {
	_, err := isOwnUser(name)
	var unknown user.UnknownUserError
	return errors.As(err, &unknown)
}

func isOwnUser(name string) (bool, error) {
	own := strconv.Itoa(os.Geteuid())
	if runtime.GOOS == "windows" {
		current, err := user.Current()
		if err != nil {
			return false, err
		}
		own = current.Uid // a SID
	}
	u, err := user.Lookup(name)
	if err != nil {
		if _, notNumber := strconv.ParseUint(name, 10, 31); notNumber != nil {
			return false, err
		}
		return name == own, nil // a number without an entry in passwd is valid
	}
	return u.Uid == own, nil
}
