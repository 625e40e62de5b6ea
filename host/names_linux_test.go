package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		op   string
		err  error
		want Outcome
		name string
	}{
		{"bind", unix.EADDRINUSE, InUse, "EADDRINUSE"},
		{"bind", unix.EACCES, Denied, "EACCES"},
		{"bind", unix.EPERM, Denied, "EPERM"},
		{"bind", unix.EADDRNOTAVAIL, NoAddress, "EADDRNOTAVAIL"},
		{"bind", unix.EAFNOSUPPORT, NoFamily, "EAFNOSUPPORT"},
		{"bind", unix.ENOMEM, Failed, "ENOMEM"},
		{"bind", unix.Errno(4000), Failed, "errno 4000"},
		{"bind", errors.New("broken"), Failed, "broken"},
		{"bind", fmt.Errorf("wrapped: %w", unix.EADDRINUSE), InUse, "EADDRINUSE"},
		{"socket", unix.EAFNOSUPPORT, Failed, "EAFNOSUPPORT"}, // the kernel of the tests has IPv6
		{"socket", unix.EACCES, Failed, "EACCES"},
		{"socket", unix.EMFILE, Failed, "EMFILE"},
		{"setsockopt", unix.EAFNOSUPPORT, Failed, "EAFNOSUPPORT"},
		{"setresuid", unix.EPERM, Failed, "EPERM"},
		{"connect", unix.EADDRINUSE, Failed, "EADDRINUSE"},
	} {
		if got, name := classify(c.op, c.err); got != c.want || name != c.name {
			t.Errorf("%s: %v: %s %q, want %s %q", c.op, c.err, got, name, c.want, c.name)
		}
	}
}

func TestOpErrno(t *testing.T) {
	for _, c := range []struct {
		err       error
		op, errno string
	}{
		{&opError{"read /proc/net/tcp", unix.EIO}, "read /proc/net/tcp", "EIO"},
		{&opError{"read /proc/net/tcp", errors.New("no header line")}, "read /proc/net/tcp", "no header line"},
		{fmt.Errorf("table: %w", &opError{"send to sock_diag", unix.EPERM}), "send to sock_diag", "EPERM"},
		{&fs.PathError{Op: "open", Path: "/proc/net/tcp", Err: unix.ENOENT}, "open /proc/net/tcp", "ENOENT"},
		{&opError{"open /x", &os.PathError{Op: "open", Path: "/x", Err: unix.EACCES}}, "open /x", "EACCES"},
		{unix.EPERM, "", "EPERM"},
		{errors.New("broken"), "", "broken"},
	} {
		if op, errno := opErrno(c.err); op != c.op || errno != c.errno {
			t.Errorf("%v: %q %q, want %q %q", c.err, op, errno, c.op, c.errno)
		}
	}
	if got := (&opError{"read x", unix.EIO}).Error(); got != "read x: input/output error" {
		t.Errorf("printed as %q", got)
	}
}

func TestDeviceName(t *testing.T) {
	for zone, want := range map[string]string{"1": "lo", "lo": "lo", "nope0": "nope0", "": "", "2147483000": "2147483000"} {
		if got := deviceName(zone); got != want {
			t.Errorf("%q: %q, want %q", zone, got, want)
		}
	}
	devices := newDevices()
	for range 2 { // the second time from the cache
		for index, want := range map[uint32]string{1: "lo", 2147483000: "2147483000"} {
			if got := devices.name(index); got != want {
				t.Errorf("%d: %q, want %q", index, got, want)
			}
		}
	}
}

func TestUserName(t *testing.T) {
	for uid, want := range map[int]string{0: "root", 48123: ""} {
		if got, err := userName(uid); err != nil || got != want {
			t.Errorf("%d: %q, %v; want %q", uid, got, err, want)
		}
	}
}
