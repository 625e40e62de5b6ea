//go:build !linux

package host

import "errors"

// errNoDevices is the error of opDevice.
var errNoDevices = errors.New("only Linux binds sockets to a device")
