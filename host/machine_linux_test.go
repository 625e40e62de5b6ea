package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/portcheck/internal/testbed"
)

// NamespaceHost is returned only with proof.
func TestNamespaceOf(t *testing.T) {
	const pids, net = initialPIDNamespace, initialNetNamespace
	for name, c := range map[string]struct {
		own, pid, first uint64
		hardware        bool
		err             error
		kind            NamespaceKind
		all             bool
		reason          string
	}{
		"the initial one":                   {net, pids, net, true, nil, NamespaceHost, true, "initial"},
		"the initial one, in a container":   {net, 7, 5, false, nil, NamespaceHost, false, "initial"},
		"the initial one, no PID namespace": {net, 0, 0, false, nil, NamespaceHost, false, "initial"},
		"that of PID 1":                     {5, pids, 5, false, nil, NamespaceHost, true, "PID 1 of the host is in it"},
		"another than that of PID 1":        {6, pids, 5, true, nil, NamespaceContainer, true, "PID 1 of the host is in another one"},
		"PID 1 can't be read":               {6, pids, 0, true, nil, NamespaceUnknown, true, "PID 1 can't be read"},
		"that of PID 1 in a container":      {5, 7, 5, false, nil, NamespaceContainer, false, "PID namespace is not that of the host"},
		"that of PID 1, hardware devices":   {5, 7, 5, true, nil, NamespaceUnknown, false, "hardware"},
		"the PID namespace can't be read":   {5, 0, 5, true, nil, NamespaceUnknown, false, "does not show the PID namespace"},
		"neither PID namespace nor PID 1":   {5, 0, 0, false, nil, NamespaceUnknown, false, "does not show the PID namespace"},
		"a container with a readable PID 1": {6, 7, 5, false, nil, NamespaceContainer, false, "PID namespace"},
		"devices can't be listed":           {5, 7, 5, false, errors.New("denied"), NamespaceUnknown, false, "the network devices can't be listed"},
	} {
		ns := namespaceOf(c.own, c.pid, c.first, func() (bool, error) { return c.hardware, c.err })
		if ns.Kind != c.kind || ns.Inode != c.own || ns.AllProcesses != c.all || !strings.Contains(ns.Reason, c.reason) {
			t.Errorf("%s: %+v, want %s, %t, %q", name, ns, c.kind, c.all, c.reason)
		}
	}
	if pids != 4026531836 || net != 4026531833 { // of include/uapi/linux/nsfs.h
		t.Errorf("initial namespaces %d and %d", uint64(pids), uint64(net))
	}
}

func TestParseNamespaceLink(t *testing.T) {
	for link, want := range map[string]uint64{"net:[4026531840]": 4026531840, "pid:[1]": 1, "mnt:[18446744073709551615]": 1<<64 - 1} {
		if got, err := parseNamespaceLink(link); err != nil || got != want {
			t.Errorf("%s: %d, %v", link, got, err)
		}
	}
	for _, link := range []string{"", "net", "net:[]", "net:[x]", "net:4026531840", "net:[-1]", "net:[18446744073709551616]"} {
		if got, err := parseNamespaceLink(link); err == nil {
			t.Errorf("%s: no error, but %d", link, got)
		}
	}
	if got, err := namespaceInode(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Errorf("no link: no error, but %d", got)
	}
}

func TestReadSysctl(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) string {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	longest := strings.Repeat("1", longestSysctl)
	for _, text := range []string{"", "\n", "8080\n", longest[:usualSysctl-1], longest[:usualSysctl], longest[:usualSysctl+1], longest[:longestSysctl-1]} {
		if got, err := readSysctl(write(text)); err != nil || got != text {
			t.Errorf("%.20q, %d bytes: %.20q, %d bytes, %v", text, len(text), got, len(got), err)
		}
	}
	// A text that fills the buffer may be cut off.
	for _, text := range []string{longest, longest + "1"} {
		if got, err := readSysctl(write(text)); err == nil || !strings.Contains(err.Error(), "more than 262144 bytes") {
			t.Errorf("%d bytes: %d bytes, %v", len(text), len(got), err)
		}
	}
	for what, path := range map[string]string{"no file": dir + "/none", "a directory": dir} {
		if got, err := readSysctl(path); err == nil {
			t.Errorf("%s: no error, but %q", what, got)
		}
	}
}

// lo is not a device of a bus.
func TestNoHardware(t *testing.T) {
	if !inParallel(t) {
		return
	}
	if found, err := hardware(); found || err != nil {
		t.Errorf("a namespace with lo alone has hardware devices: %t, %v", found, err)
	}
}

// Where netlink is denied, the devices are known all the same.
func TestNetlinkDeniedNamespace(t *testing.T) {
	if !inParallel(t) {
		return
	}
	testbed.NeedRoot(t)
	facts := probeWith(t, testbed.Faults{OwnPIDs: true, Deny: []testbed.Denial{denyNetlink}}, Request{})
	if ns := facts.Machine.Namespace; ns.Kind != NamespaceContainer || strings.Contains(ns.Reason, "devices") {
		t.Errorf("%+v, want a container", ns)
	}
}
