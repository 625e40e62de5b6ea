package nat

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
)

// readIPVS returns the text of /proc/net/ip_vs, which anybody may read, or nothing if
// the module is not loaded. A question by netlink would load it.
func readIPVS() ([]byte, error) {
	const op = "read /proc/net/ip_vs"
	file, err := os.Open("/proc/thread-self/net/ip_vs")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, &Unreadable{Op: op, Err: err}
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err == nil && len(text) > maxBytes {
		err = errTooMany
	}
	if err != nil {
		return nil, &Unreadable{Op: op, Err: err}
	}
	if bytes.Count(text, []byte("\n")) <= 3 { // the heading alone
		return nil, nil
	}
	if backup, err := os.ReadFile("/proc/sys/net/ipv4/vs/backup_only"); err != nil || !bytes.Equal(bytes.TrimSpace(backup), []byte("0")) {
		return append([]byte(ipvsPerhaps), text...), nil
	}
	return text, nil
}

// ipvsPerhaps is put before the text if a backup director may leave calls alone, or
// if that is not known.
const ipvsPerhaps = "perhaps "

// addIPVS adds virtual services that any question may be about to the rules.
func (k *kernel) addIPVS() error {
	text, perhaps := bytes.CutPrefix(k.ipvs, []byte(ipvsPerhaps))
	services, err := decodeIPVS(text, func(s virtualService) bool {
		return s.mark != 0 || k.filter.protocols[s.protocol] && (s.port == 0 || s.isFTP() || k.filter.mayBePort(s.port, s.port) != no)
	})
	if err != nil {
		return &Unreadable{Op: "decode /proc/net/ip_vs", Err: err}
	}
	for i := range services {
		services[i].perhaps = perhaps
		if err := k.keep(); err != nil {
			return err
		}
	}
	k.services = ipvsTables(services)
	return nil
}
