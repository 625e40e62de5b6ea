package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// users looks up users by uid and by name.
type users interface {
	name(uid int) (string, error) // "" for a uid that has none
	find(name string) (account, error)
}

// account is what setgroups(2) and setresuid(2) need of a user.
type account struct {
	uid, gid int
	groups   []uint32
}

// machineUsers returns the users of the machine that /proc shows. In a container
// with the host's PID namespace, the container's own passwd has other
// names for the host's uids.
var machineUsers = sync.OnceValue(func() users {
	if root := machineRoot(); root != "" {
		return etcUsers{root + "/etc"}
	}
	return ownUsers{}
})

// UnknownUser reports whether the machine surely has no user of a name.
func UnknownUser(name string) bool {
	_, err := machineUsers().find(name)
	var unknown user.UnknownUserError
	return errors.As(err, &unknown)
}

// ownUsers are the users of the system that this process runs in.
type ownUsers struct{}

func (ownUsers) name(uid int) (string, error) { return userName(uid) }

func (ownUsers) find(name string) (account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		n, notNumber := strconv.ParseUint(name, 10, 31)
		if notNumber != nil {
			return account{}, err
		}
		if u, err = user.LookupId(name); err != nil {
			return account{uid: int(n), gid: int(n)}, nil // a number without an entry in passwd is valid
		}
	}
	ids, err := u.GroupIds()
	if err != nil {
		return account{}, err
	}
	return newAccount(u.Uid, u.Gid, ids)
}

func newAccount(uid, gid string, groups []string) (a account, err error) {
	if a.uid, err = strconv.Atoi(uid); err != nil {
		return account{}, err
	}
	if a.gid, err = strconv.Atoi(gid); err != nil {
		return account{}, err
	}
	for _, id := range groups {
		g, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return account{}, err
		}
		a.groups = append(a.groups, uint32(g))
	}
	return a, nil
}

// etcUsers are the users in passwd and group of a directory that is the /etc of
// another system. Users that its name service would add are not seen.
type etcUsers struct{ etc string }

func (f etcUsers) name(uid int) (string, error) {
	entries, err := f.read("passwd", 7)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e[2] == strconv.Itoa(uid) {
			return e[0], nil
		}
	}
	return "", nil
}

func (f etcUsers) find(name string) (account, error) {
	entries, err := f.read("passwd", 7)
	if err != nil {
		return account{}, fmt.Errorf("the host's users can't be read: %w", err)
	}
	i := slices.IndexFunc(entries, func(e []string) bool { return e[0] == name })
	if i < 0 {
		i = slices.IndexFunc(entries, func(e []string) bool { return e[2] == name })
	}
	if i < 0 {
		n, err := strconv.ParseUint(name, 10, 31)
		if err != nil {
			return account{}, user.UnknownUserError(name)
		}
		return account{uid: int(n), gid: int(n)}, nil
	}
	u := entries[i]
	groups := []string{u[3]}
	all, err := f.read("group", 4)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return account{}, err
	}
	for _, g := range all {
		if slices.Contains(strings.Split(g[3], ","), u[0]) && g[2] != u[3] {
			groups = append(groups, g[2])
		}
	}
	return newAccount(u[2], u[3], groups)
}

// read returns the lines of a file like passwd(5) that have enough fields.
func (f etcUsers) read(file string, fields int) ([][]string, error) {
	text, err := os.ReadFile(f.etc + "/" + file)
	if err != nil {
		return nil, err
	}
	var entries [][]string
	for line := range strings.Lines(string(text)) {
		e := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(e) >= fields && e[0] != "" && !strings.HasPrefix(e[0], "#") {
			entries = append(entries, e)
		}
	}
	return entries, nil
}
