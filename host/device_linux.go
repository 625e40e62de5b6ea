package host

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// The functions of this file use ioctls and /proc. Package net asks netlink, which a
// container may be denied.

// deviceIndex returns the index of a network device.
func deviceIndex(name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, unix.ENODEV // the name is too long for a device
	}
	err = askDevice(unix.SIOCGIFINDEX, request)
	return int(request.Uint32()), err
}

// deviceNameOf returns the name of a network device.
func deviceNameOf(index int) (string, error) {
	request, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	request.SetUint32(uint32(index))
	err = askDevice(unix.SIOCGIFNAME, request)
	return request.Name(), err
}

func askDevice(what uint, request *unix.Ifreq) error {
	fd, err := newSocket(unix.AF_INET, unix.SOCK_DGRAM)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.IoctlIfreq(fd, what, request)
}

// deviceNames returns the names of the network devices of this namespace.
func deviceNames() ([]string, error) {
	text, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if name, _, isDevice := strings.Cut(line, ":"); isDevice { // the headings have no colon
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names, nil
}
