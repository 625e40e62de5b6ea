package lease

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// lockByte locks a byte of a file, which nobody can read then: it is not one of those that
// have text.
func lockByte(f *os.File, at int64) error {
	return lockAs(f, at, windows.LOCKFILE_EXCLUSIVE_LOCK)
}

func lockAs(f *os.File, at int64, flags uint32) error {
	o := windows.Overlapped{Offset: uint32(at)}
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &o)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return errTaken
	}
	return err
}

// byteLocked reports whether another process has locked a byte of a file. Windows can be
// asked only by a lock, which others can share.
func byteLocked(f *os.File, at int64) (bool, error) {
	err := lockAs(f, at, 0)
	if errors.Is(err, errTaken) {
		return true, nil
	}
	if err == nil {
		err = windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, &windows.Overlapped{Offset: uint32(at)})
	}
	return false, err
}

// private returns an error if a directory belongs to another user. Who may write to it
// is inherited from the directory of the user's temporary files.
func private(path string, _ fs.FileInfo) error {
	d, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return err
	}
	owner, _, err := d.Owner()
	if err != nil {
		return err
	}
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return err
	}
	// What an elevated process makes belongs to the administrators.
	if !owner.Equals(user.User.Sid) && !owner.IsWellKnown(windows.WinBuiltinAdministratorsSid) && !owner.IsWellKnown(windows.WinLocalSystemSid) {
		return errors.New("it is that of another user")
	}
	return nil
}

// ended reports whether a process has ended.
func ended(pid int) bool {
	h, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return errors.Is(err, windows.ERROR_INVALID_PARAMETER) // no such process
	}
	defer func() { _ = windows.CloseHandle(h) }() // nothing was written
	event, err := windows.WaitForSingleObject(h, 0)
	return err == nil && event == windows.WAIT_OBJECT_0
}
