//go:build unix

package host

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/port"
)

// openSocket opens and binds one socket as an app with this binding would. It
// does not listen: a listener conflicts at bind already, even under
// SO_REUSEADDR (on BSD only if the two share that way: port.LikeBSD), and a socket
// that never listens accepts no client by mistake.
// net.Listen would set options of its own.
func openSocket(b port.Binding, e port.Endpoint) (release func(), op string, err error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if e.Addr.Is6() {
		family = unix.AF_INET6
	}
	if e.Protocol == port.UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := newSocket(family, kind)
	if err != nil {
		return nil, "socket", err
	}
	release = func() { _ = unix.Close(fd) } // nothing was sent, so there is no error to report
	if op, err = prepare(fd, b, e); err != nil {
		release()
		return nil, op, err
	}
	return release, "", nil
}

func prepare(fd int, b port.Binding, e port.Endpoint) (op string, err error) {
	set := func(level, option, value int) {
		if err == nil {
			err = unix.SetsockoptInt(fd, level, option, value)
		}
	}
	if e.Addr.Is6() && e.Addr.IsUnspecified() {
		v6only := 0
		if e.V6Only {
			v6only = 1
		}
		set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only)
	}
	if b.ReuseAddress {
		set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if b.ReusePort {
		set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if err != nil {
		return "setsockopt", err
	}
	if b.Device != "" {
		if err := bindToDevice(fd, b.Device); err != nil {
			return opDevice, err
		}
	}
	var address unix.Sockaddr
	if e.Addr.Is4() {
		address = &unix.SockaddrInet4{Port: int(e.Port), Addr: e.Addr.As4()}
	} else {
		v6 := &unix.SockaddrInet6{Port: int(e.Port), Addr: e.Addr.As16()}
		if e.Device != "" {
			index, err := deviceIndex(e.Device)
			if errors.Is(err, unix.ENODEV) {
				return "bind", unix.EADDRNOTAVAIL // the errno of bind for a zone that does not exist
			}
			if err != nil {
				return "look up device", err
			}
			v6.ZoneId = uint32(index)
		}
		address = v6
	}
	return "bind", unix.Bind(fd, address)
}

// classify returns the outcome for an error of an operation, and the error's
// symbolic errno. Only a bind can be refused for its address or for a missing
// right.
func classify(op string, err error) (Outcome, string) {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return Failed, err.Error()
	}
	name := unix.ErrnoName(errno)
	if name == "" {
		name = "errno " + strconv.Itoa(int(errno))
	}
	switch {
	case op == "socket" && errno == unix.EAFNOSUPPORT:
		if kernelHasIPv6() {
			return Failed, name // a filter, as systemd's RestrictAddressFamilies
		}
		return NoFamily, name
	case op == opDevice && errno == unix.ENODEV:
		return NoAddress, name
	case op != "bind":
		return Failed, name
	case errno == unix.EADDRINUSE:
		return InUse, name
	case errno == unix.EACCES || errno == unix.EPERM:
		return Denied, name
	case errno == unix.EADDRNOTAVAIL:
		return NoAddress, name
	case errno == unix.EAFNOSUPPORT:
		return NoFamily, name
	}
	return Failed, name
}

// haveIPv6 reports whether this machine has IPv6. That this process can't open such a
// socket does not say that others can't.
func haveIPv6() bool {
	fd, err := newSocket(unix.AF_INET6, unix.SOCK_DGRAM)
	if err != nil {
		return !errors.Is(err, unix.EAFNOSUPPORT) || kernelHasIPv6()
	}
	return unix.Close(fd) == nil
}
