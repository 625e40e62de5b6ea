package lease

import (
	"errors"
	"sync"

	"golang.org/x/sys/windows"
)

// exclusiveAddrUse is SO_EXCLUSIVEADDRUSE of winsock2.h. With it a bind fails if a
// socket has the port on any address.
const exclusiveAddrUse = ^windows.SO_REUSEADDR

// startWinsock initializes Winsock. The net package does so as well, but does not
// promise it. Winsock counts the calls.
var startWinsock = sync.OnceValue(func() error {
	var data windows.WSAData
	return windows.WSAStartup(0x202, &data) // version 2.2
})

// tryTCP returns an error if a socket has a TCP port on any address. It does not listen,
// for which the firewall would ask the user.
func tryTCP(n uint16) error {
	if err := startWinsock(); err != nil {
		return err
	}
	err := tryOn(windows.AF_INET6, &windows.SockaddrInet6{Port: int(n)})
	if errors.Is(err, windows.WSAEAFNOSUPPORT) || errors.Is(err, windows.WSAEADDRNOTAVAIL) {
		err = tryOn(windows.AF_INET, &windows.SockaddrInet4{Port: int(n)})
	}
	if errors.Is(err, windows.WSAEADDRINUSE) || errors.Is(err, windows.WSAEACCES) {
		return errTaken
	}
	return err
}

func tryOn(family int32, address windows.Sockaddr) error {
	socket, err := windows.WSASocket(family, windows.SOCK_STREAM, windows.IPPROTO_TCP, nil, 0, windows.WSA_FLAG_NO_HANDLE_INHERIT)
	if err != nil {
		return err
	}
	defer func() { _ = windows.Closesocket(socket) }() // nothing was sent
	if family == windows.AF_INET6 {
		err = windows.SetsockoptInt(socket, windows.IPPROTO_IPV6, windows.IPV6_V6ONLY, 0)
	}
	if err == nil {
		err = windows.SetsockoptInt(socket, windows.SOL_SOCKET, exclusiveAddrUse, 1)
	}
	if err != nil {
		return err
	}
	return windows.Bind(socket, address)
}
