package host

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"github.com/org/portcheck/host/internal/netsh"
	"github.com/org/portcheck/port"
)

func readMachine() Machine {
	return Machine{
		OS: runtime.GOOS, Arch: runtime.GOARCH, UID: -1, Elevated: windows.GetCurrentProcessToken().IsElevated(),
		Namespace: readNamespace(), IPv6: haveIPv6(),
	}
}

// readNamespace recognizes a container, which has a network compartment of its
// own, by the value that Windows writes into the container's registry.
func readNamespace() Namespace {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Control`, registry.QUERY_VALUE)
	if err != nil {
		return Namespace{Kind: NamespaceUnknown, Reason: "the registry can't be read"}
	}
	defer key.Close()
	_, _, err = key.GetIntegerValue("ContainerType")
	switch {
	case errors.Is(err, registry.ErrNotExist):
		return Namespace{Kind: NamespaceHost, Reason: "the registry has no ContainerType"}
	case err != nil:
		return Namespace{Kind: NamespaceUnknown, Reason: "the registry can't be read"}
	}
	return Namespace{Kind: NamespaceContainer, Reason: "the registry has a ContainerType"}
}

// netshTimeout bounds a command that usually takes 0.1 s.
const netshTimeout = 5 * time.Second

// readLimits runs netsh, because Windows documents no call that lists the
// excluded ranges. No port needs a right on Windows.
func readLimits() (Limits, []Gap) {
	ctx, cancel := context.WithTimeout(context.Background(), netshTimeout)
	defer cancel()
	limits := Limits{
		Ephemeral: port.Range{First: 49152, Last: 65535}, // the default since Windows Vista
		Excluded:  map[port.Protocol]port.Set{},
	}
	var gaps []Gap
	text, err := runNetsh(ctx, "dynamicport", "tcp")
	if err == nil {
		var dynamic port.Range
		if dynamic, err = netsh.ParseDynamic(text); err == nil {
			limits.Ephemeral = dynamic
		}
	}
	if err != nil {
		gaps = append(gaps, Gap{What: "netsh can't list the dynamic ports, so the default is assumed", Op: "netsh", Errno: ErrnoName(err)})
	}
	for _, protocol := range port.Protocols {
		text, err := runNetsh(ctx, "excludedportrange", "protocol="+string(protocol))
		if err == nil {
			limits.Excluded[protocol], err = netsh.ParseExcluded(text)
		}
		if err != nil {
			gaps = append(gaps, Gap{
				What: fmt.Sprintf("netsh can't list the %s ports that Windows reserves, so such a port looks like one that needs a right", protocol),
				Op:   "netsh", Errno: ErrnoName(err),
			})
		}
	}
	return limits, gaps
}

// runNetsh runs the netsh of the system directory, whatever PATH is.
func runNetsh(ctx context.Context, what, protocol string) (string, error) {
	system, err := windows.GetSystemDirectory()
	if err != nil {
		return "", err
	}
	text, err := exec.CommandContext(ctx, filepath.Join(system, "netsh.exe"), "interface", "ipv4", "show", what, protocol).Output()
	return string(text), err
}
