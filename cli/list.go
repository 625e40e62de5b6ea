package cli

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
	"github.com/org/portcheck/report"
)

func (a *app) list() *cobra.Command {
	var spec, format, holder string
	var ports []string
	var showCommand, noColor bool
	var connect connectOptions
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "List listening sockets with process, PID, user, and unit or container",
		Example: `  portcheck list
  portcheck list -p 8080 -p 53/udp
  portcheck list --holder 'nginx*'
  portcheck list --holder 4711
  portcheck list -f json`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVarP(&ports, "port", "p", nil, "list only these ports, such as `8080`, 80,443, 8000-8099, 53/udp, 127.0.0.1:8080; address and protocol are those of the whole list (repeatable)")
	f.StringVar(&holder, "holder", "", "list only what is held by `NAME`: a process or its PID, a user, unit or container, or a glob such as 'post*'")
	f.StringVarP(&spec, "target", "t", "auto", "where to look: `TARGET` is "+config.TargetSyntax())
	f.StringVarP(&format, "format", "f", "text", "text or json")
	f.BoolVar(&showCommand, "show-command", false, "show command lines; they may contain secrets")
	f.BoolVar(&noColor, "no-color", false, "no colours")
	connect.connectFlags(f)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter, err := newListFilter(ports, holder)
		if err != nil {
			return err
		}
		if _, known := report.ListFormats[format]; !known {
			return notOneOf("-f", format, report.ListFormats.Names())
		}
		return a.onTarget(spec, connect, func(t check.Target) error {
			listing, err := check.List(cmd.Context(), t, check.Options{ShowCommand: showCommand, Timeout: connect.timeout})
			if err != nil {
				return unknownError(err)
			}
			listing.Sockets = slices.DeleteFunc(listing.Sockets, func(h check.Holder) bool { return !filter.matches(h) })
			if err := report.List(a.stdout, listing, format, report.Options{Color: a.color(a.stdout, noColor), Width: a.width(a.stdout)}); err != nil {
				if readerGone(err) {
					return nil // the reader, such as head, has seen enough
				}
				return writeFailure("the list", err)
			}
			if len(listing.Sockets) == 0 && format == "text" {
				a.logf("no such socket was found")
			}
			return report.TargetNotices(a.stderr, listing.Targets)
		})
	}
	return cmd
}

// listFilter says which sockets are listed.
type listFilter struct {
	ports  []config.Port // none: all
	holder string        // a glob in lower case, or ""
}

func newListFilter(specs []string, holder string) (listFilter, error) {
	f := listFilter{holder: strings.ToLower(holder)}
	for _, spec := range specs {
		ports, err := parsePorts(spec)
		if err != nil {
			return f, usageError(fmt.Errorf("-p %w", err), "")
		}
		if !strings.Contains(spec, "/") {
			for i := range ports {
				ports[i].Protocols = port.Protocols
			}
		}
		f.ports = append(f.ports, ports...)
	}
	if _, err := path.Match(f.holder, ""); err != nil {
		return f, usageError(fmt.Errorf("--holder %q is not a valid glob pattern: a [ is not closed, or a \\ ends it", holder), "")
	}
	return f, nil
}

func (f listFilter) matches(h check.Holder) bool {
	if len(f.ports) > 0 && !slices.ContainsFunc(f.ports, func(p config.Port) bool { return onPort(h, p) }) {
		return false
	}
	if f.holder == "" {
		return true
	}
	names := []string{h.Process, h.User, h.Unit, strings.TrimSuffix(h.Unit, ".service"), strings.TrimSuffix(h.Process, ".exe")}
	if h.PID > 0 {
		names = append(names, strconv.Itoa(h.PID))
	}
	if h.Container != nil {
		names = append(names, h.Container.Name, h.Container.ID, h.Container.Compose)
	}
	return slices.ContainsFunc(names, func(name string) bool {
		ok, _ := path.Match(f.holder, strings.ToLower(name)) // newListFilter has reported a bad pattern
		return ok && name != ""
	})
}

// onPort reports whether a socket is on one of the ports and addresses of p.
func onPort(h check.Holder, p config.Port) bool {
	if !slices.Contains(p.Protocols, h.Protocol) || !p.Ports.Contains(h.Port) {
		return false
	}
	addr, err := netip.ParseAddr(h.Address)
	if err != nil || slices.Contains(p.Addresses, port.Any) {
		return err == nil
	}
	socket := port.Endpoint{Protocol: h.Protocol, Addr: addr.WithZone(""), Port: h.Port, Device: addr.Zone()}
	return slices.ContainsFunc(p.Binding(h.Protocol).At(h.Port), socket.Overlaps)
}
