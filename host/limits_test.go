package host

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/org/portcheck/port"
)

// sysctls reads from a map of the names below /proc/sys/net/ipv4.
func sysctls(text map[string]string) func(string) (string, error) {
	return func(path string) (string, error) {
		s, ok := text[strings.TrimPrefix(path, "/proc/sys/net/ipv4/")]
		if !ok {
			return "", fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
		}
		if reason, fails := strings.CutPrefix(s, "error: "); fails {
			return "", errors.New(reason)
		}
		return s, nil
	}
}

func TestUnprivilegedStart(t *testing.T) {
	for text, want := range map[string]int{"0\n": 0, "1\n": 1, "80\n": 80, "1024\n": 1024, "65535\n": 65535, "65536\n": 65536} {
		limits, gaps := limitsFrom(sysctls(map[string]string{
			"ip_unprivileged_port_start": text, "ip_local_port_range": "1\t2\n", "ip_local_reserved_ports": "\n",
		}))
		if limits.UnprivilegedFrom != want || len(gaps) > 0 {
			t.Errorf("%q: %d, gaps %+v; want %d", text, limits.UnprivilegedFrom, gaps, want)
		}
	}
}

// A limit that can't be read is the kernel's default, with a gap. The others are
// those that were read.
func TestLimitsThatCannotBeRead(t *testing.T) {
	whole := map[string]string{"ip_local_port_range": "40000\t50001\n", "ip_local_reserved_ports": "8080,9090-9091\n", "ip_unprivileged_port_start": "81\n"}
	for name, c := range map[string]struct{ sysctl, text, errno string }{
		"no such file":           {"ip_unprivileged_port_start", "", "ENOENT"},
		"not readable":           {"ip_unprivileged_port_start", "error: channel refused", "channel refused"},
		"negative":               {"ip_unprivileged_port_start", "-1\n", `unexpected text "-1"`},
		"more than all ports":    {"ip_unprivileged_port_start", "65537\n", `unexpected text "65537"`},
		"not a number":           {"ip_unprivileged_port_start", "x\n", `unexpected text "x"`},
		"empty":                  {"ip_unprivileged_port_start", "\n", `unexpected text ""`},
		"no range":               {"ip_local_port_range", "32768\n", `unexpected text "32768"`},
		"three ends of a range":  {"ip_local_port_range", "1 2 3\n", `unexpected text "1 2 3"`},
		"no range file":          {"ip_local_port_range", "", "ENOENT"},
		"broken list of ports":   {"ip_local_reserved_ports", "8080,x\n", "x"},
		"unreadable list":        {"ip_local_reserved_ports", "error: EIO", "EIO"},
		"an error without words": {"ip_local_reserved_ports", "error: ", "no reason given"},
	} {
		t.Run(name, func(t *testing.T) {
			text := map[string]string{}
			for k, v := range whole {
				if k != c.sysctl {
					text[k] = v
				} else if c.text != "" {
					text[k] = c.text
				}
			}
			want := Limits{Ephemeral: port.Range{First: 40000, Last: 50001}, Reserved: port.Set{port.One(8080), {First: 9090, Last: 9091}}, UnprivilegedFrom: 81}
			switch c.sysctl {
			case "ip_unprivileged_port_start":
				want.UnprivilegedFrom = 1024
			case "ip_local_port_range":
				want.Ephemeral = port.Range{First: 32768, Last: 60999}
			default:
				want.Reserved = nil
			}
			got, gaps := limitsFrom(sysctls(text))
			if got.Ephemeral != want.Ephemeral || !slices.Equal(got.Reserved, want.Reserved) || got.UnprivilegedFrom != want.UnprivilegedFrom {
				t.Errorf("%+v, want %+v", got, want)
			}
			if len(gaps) != 1 || gaps[0].Op != "read /proc/sys/net/ipv4/"+c.sysctl || !strings.Contains(gaps[0].Errno, c.errno) ||
				!strings.Contains(gaps[0].What, c.sysctl) || gaps[0].Kind != "" {
				t.Errorf("gaps %+v", gaps)
			}
		})
	}
}
