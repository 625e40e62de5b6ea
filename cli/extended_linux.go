package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/report"
)

// ofContent are extended attributes that the kernel makes of a file's content.
var ofContent = []string{"security.ima", "security.evm"}

// accessList is the attribute of an access control list, which new files may inherit
// from their directory (acl(5)).
const accessList = "system.posix_acl_access"

// keepExtended gives a new file the extended attributes of another one.
func keepExtended(old, f *os.File) error {
	before, err := extended(old)
	if err != nil {
		return err
	}
	created, err := extended(f)
	if err != nil {
		return err
	}
	for name, value := range before {
		if slices.Contains(ofContent, name) || bytes.Equal(created[name], value) && created[name] != nil {
			continue
		}
		if err := unix.Fsetxattr(int(f.Fd()), name, value, 0); err != nil {
			return fmt.Errorf("its extended attribute %s can't be kept: %w", report.Safe(name), err)
		}
	}
	if _, ok := before[accessList]; !ok && created[accessList] != nil {
		return unix.Fremovexattr(int(f.Fd()), accessList)
	}
	return nil
}

// extended returns the extended attributes of a file by their names.
func extended(f *os.File) (map[string][]byte, error) {
	list := make([]byte, 64<<10) // the most that there can be, XATTR_LIST_MAX
	n, err := unix.Flistxattr(int(f.Fd()), list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("its extended attributes can't be read: %w", err)
	}
	all := map[string][]byte{}
	value := make([]byte, 64<<10) // the most that one can have, XATTR_SIZE_MAX
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		n, err := unix.Fgetxattr(int(f.Fd()), name, value)
		switch {
		case errors.Is(err, unix.ENODATA): // it was removed meanwhile
		case err != nil:
			return nil, fmt.Errorf("its extended attribute %s can't be read: %w", report.Safe(name), err)
		default:
			all[name] = append([]byte{}, value[:n]...)
		}
	}
	return all, nil
}
