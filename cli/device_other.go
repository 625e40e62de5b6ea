//go:build unix && !linux

package cli

import "errors"

func bindToDevice(int, string) error {
	return errors.New("sockets are bound to devices on Linux alone")
}
