//go:build !linux

package host

import (
	"errors"
	"net"
	"syscall"
)

// deviceIndex returns the index of a network device.
func deviceIndex(name string) (int, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return 0, syscall.ENODEV
	}
	return device.Index, nil
}

// deviceNameOf returns the name of a network device.
func deviceNameOf(index int) (string, error) {
	device, err := net.InterfaceByIndex(index)
	if err != nil {
		return "", err
	}
	return device.Name, nil
}

// errNoDevices is the error of opDevice.
var errNoDevices = errors.New("only Linux binds sockets to a device")
