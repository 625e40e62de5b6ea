package cli

import "golang.org/x/sys/unix"

func bindToDevice(fd int, device string) error { return unix.BindToDevice(fd, device) }
