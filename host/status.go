package host

import (
	"bytes"
	"errors"
	"strconv"
)

// capNetBindService is CAP_NET_BIND_SERVICE of include/uapi/linux/capability.h.
const capNetBindService = 10

// parseEffectiveUID parses "Uid:\t1000\t1000\t1000\t1000" of /proc/PID/status.
func parseEffectiveUID(status []byte) (int, error) {
	fields, err := statusLine(status, "Uid:")
	if err != nil {
		return -1, err
	}
	if len(fields) < 2 {
		return -1, errors.New("short Uid line")
	}
	uid, err := strconv.ParseUint(string(fields[1]), 10, 32)
	if err != nil {
		return -1, err
	}
	return int(uid), nil
}

// parseMayBindLow parses "CapEff:\t0000000000000400" of /proc/PID/status. It
// reports whether the process may bind ports that need a right.
func parseMayBindLow(status []byte) (bool, error) {
	fields, err := statusLine(status, "CapEff:")
	if err != nil {
		return false, err
	}
	if len(fields) != 1 {
		return false, errors.New("unexpected CapEff line")
	}
	effective, err := strconv.ParseUint(string(fields[0]), 16, 64)
	if err != nil {
		return false, err
	}
	return effective&(1<<capNetBindService) != 0, nil
}

// statusLine returns the fields of the first line with this key.
func statusLine(status []byte, key string) ([][]byte, error) {
	for line := range bytes.Lines(status) {
		if rest, found := bytes.CutPrefix(line, []byte(key)); found {
			return bytes.Fields(rest), nil
		}
	}
	return nil, errors.New("no line " + key)
}
