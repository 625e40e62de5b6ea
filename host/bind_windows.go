package host

import (
	"errors"
	"sync"
	"syscall"

	"golang.org/x/sys/windows"

	"github.com/org/portcheck/port"
)

// openSocket opens and binds one socket as an app with this binding would. It
// does not listen, and never sets SO_REUSEADDR, which on Windows takes the port
// away from the socket that has it (Microsoft, "Using SO_REUSEADDR and
// SO_EXCLUSIVEADDRUSE").
func openSocket(b port.Binding, e port.Endpoint) (release func(), op string, err error) {
	family, kind, protocol := int32(windows.AF_INET), int32(windows.SOCK_STREAM), int32(windows.IPPROTO_TCP)
	if e.Addr.Is6() {
		family = windows.AF_INET6
	}
	if e.Protocol == port.UDP {
		kind, protocol = windows.SOCK_DGRAM, windows.IPPROTO_UDP
	}
	socket, err := newSocket(family, kind, protocol)
	if err != nil {
		return nil, "socket", err
	}
	release = func() { _ = windows.Closesocket(socket) } // nothing was sent, so there is no error to report
	if op, err = prepare(socket, e); err != nil {
		release()
		return nil, op, err
	}
	if b.Device != "" {
		release()
		return nil, opDevice, errNoDevices
	}
	return release, "", nil
}

// startWinsock initializes Winsock. The net package does so as well, but does
// not promise it. Winsock counts the calls.
var startWinsock = sync.OnceValue(func() error {
	var data windows.WSAData
	return windows.WSAStartup(0x202, &data) // version 2.2
})

func newSocket(family, kind, protocol int32) (windows.Handle, error) {
	if err := startWinsock(); err != nil {
		return windows.InvalidHandle, err
	}
	return windows.WSASocket(family, kind, protocol, nil, 0, windows.WSA_FLAG_OVERLAPPED|windows.WSA_FLAG_NO_HANDLE_INHERIT)
}

func prepare(socket windows.Handle, e port.Endpoint) (op string, err error) {
	if e.Addr.Is4() {
		return "bind", windows.Bind(socket, &windows.SockaddrInet4{Port: int(e.Port), Addr: e.Addr.As4()})
	}
	if e.Addr.IsUnspecified() {
		v6only := 0
		if e.V6Only {
			v6only = 1
		}
		if err := windows.SetsockoptInt(socket, windows.IPPROTO_IPV6, windows.IPV6_V6ONLY, v6only); err != nil {
			return "setsockopt", err
		}
	}
	address := &windows.SockaddrInet6{Port: int(e.Port), Addr: e.Addr.As16()}
	if e.Device != "" {
		index, err := deviceIndex(e.Device)
		if err != nil {
			return "bind", windows.WSAEADDRNOTAVAIL // the error of bind for a zone that does not exist
		}
		address.ZoneId = uint32(index)
	}
	return "bind", windows.Bind(socket, address)
}

// classify returns the outcome for an error of an operation, and the error's
// symbolic name. Only a bind can be refused for its address or for a missing
// right.
func classify(op string, err error) (Outcome, string) {
	var errno windows.Errno
	if !errors.As(err, &errno) {
		return Failed, err.Error()
	}
	name, known := errnoNames[errno]
	if !known {
		name = windowsErrorName(int(errno))
	}
	switch {
	case op == "socket" && errno == windows.WSAEAFNOSUPPORT:
		return NoFamily, name
	case op != "bind":
		return Failed, name
	case errno == windows.WSAEADDRINUSE:
		return InUse, name
	case errno == windows.WSAEACCES:
		return Denied, name // Limits.markExcluded recognizes excluded ranges
	case errno == windows.WSAEADDRNOTAVAIL:
		return NoAddress, name
	case errno == windows.WSAEAFNOSUPPORT:
		return NoFamily, name
	}
	return Failed, name
}

var errnoNames = map[windows.Errno]string{
	syscall.ENOTSUP:            "ENOTSUP",
	windows.WSAEACCES:          "WSAEACCES",
	windows.WSAEADDRINUSE:      "WSAEADDRINUSE",
	windows.WSAEADDRNOTAVAIL:   "WSAEADDRNOTAVAIL",
	windows.WSAEAFNOSUPPORT:    "WSAEAFNOSUPPORT",
	windows.WSAECONNREFUSED:    "WSAECONNREFUSED",
	windows.WSAECONNRESET:      "WSAECONNRESET",
	windows.WSAEFAULT:          "WSAEFAULT",
	windows.WSAEHOSTDOWN:       "WSAEHOSTDOWN",
	windows.WSAEHOSTUNREACH:    "WSAEHOSTUNREACH",
	windows.WSAEINVAL:          "WSAEINVAL",
	windows.WSAEMFILE:          "WSAEMFILE",
	windows.WSAENETDOWN:        "WSAENETDOWN",
	windows.WSAENETUNREACH:     "WSAENETUNREACH",
	windows.WSAENOBUFS:         "WSAENOBUFS",
	windows.WSAENOPROTOOPT:     "WSAENOPROTOOPT",
	windows.WSAEPROTONOSUPPORT: "WSAEPROTONOSUPPORT",
	windows.WSAETIMEDOUT:       "WSAETIMEDOUT",
}

// haveIPv6 reports whether an IPv6 socket can be opened.
func haveIPv6() bool {
	socket, err := newSocket(windows.AF_INET6, windows.SOCK_DGRAM, windows.IPPROTO_UDP)
	if err != nil {
		return !errors.Is(err, windows.WSAEAFNOSUPPORT)
	}
	return windows.Closesocket(socket) == nil
}
