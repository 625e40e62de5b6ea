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
	addList(f, &ports, "port", "p", "list only these ports, such as `8080`, 80,443, 8000-8099, 53/udp, 127.0.0.1:8080; address and protocol are those of the whole list (repeatable)")
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
			unseen := filter.unseen(listing.Sockets)
			listing.Sockets = slices.DeleteFunc(listing.Sockets, func(h check.Holder) bool { return !filter.matches(h) })
			if err := report.List(a.stdout, listing, format, report.Options{Color: a.color(a.stdout, noColor), Width: a.width(a.stdout)}); err != nil {
				if readerGone(err) {
					return nil // the reader, such as head, has seen enough
				}
				return writeFailure("the list", err)
			}
			if len(listing.Sockets) == 0 && format == "text" {
				a.logf("%s", filter.nothing(spec))
			}
			if unseen > 0 {
				a.logf("note: who holds %s can't be seen%s, so it is not known whether it is %q", check.Counted(unseen, "other socket"), filter.where(), holder)
			}
			return report.TargetNotices(a.stderr, listing.Targets)
		})
	}
	return cmd
}

// listFilter says which sockets are listed.
type listFilter struct {
	ports  []config.Port // none: all
	specs  []string      // of --port
	ofSpec []config.Port // the first port of each
	holder string        // a glob in lower case, or ""
}

func newListFilter(specs []string, holder string) (listFilter, error) {
	f := listFilter{specs: specs, holder: strings.ToLower(holder)}
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
		f.ofSpec = append(f.ofSpec, ports[0])
		f.ports = append(f.ports, ports...)
	}
	if _, err := path.Match(f.holder, ""); err != nil {
		return f, usageError(fmt.Errorf("--holder %q is not a valid glob pattern: a [ is not closed, or a \\ ends it", holder), "")
	}
	return f, nil
}

// nothing says that no socket was found, and what was looked for.
func (f listFilter) nothing(target string) string {
	kinds := port.Protocols
	if len(f.ports) > 0 {
		kinds = slices.DeleteFunc(slices.Clone(kinds), func(proto port.Protocol) bool {
			return !slices.ContainsFunc(f.ports, func(p config.Port) bool { return slices.Contains(p.Protocols, proto) })
		})
	}
	var sockets []string
	for _, proto := range kinds {
		sockets = append(sockets, map[port.Protocol]string{port.TCP: "listening TCP socket", port.UDP: "UDP socket"}[proto])
	}
	text := "no " + strings.Join(sockets, " and no ") + " was found" + f.where()
	if f.holder != "" {
		text += fmt.Sprintf(" with the holder %q", f.holder)
	}
	if len(f.ports) > 0 && f.holder == "" && slices.Contains(kinds, port.TCP) {
		words := "portcheck"
		for i, spec := range f.specs {
			if slices.Contains(f.ofSpec[i].Protocols, port.TCP) {
				words += " -p " + safeWords(spec)
			}
		}
		if target != "auto" {
			words += " -t " + safeWords(target)
		}
		text += "; one that is bound and does not listen is not listed: `" + words + "` shows it"
	}
	return text
}

// where returns which ports are asked for, "" for all.
func (f listFilter) where() string {
	if len(f.specs) == 0 {
		return ""
	}
	return " on " + safeWords(strings.Join(f.specs, ", "))
}

// unseen counts the sockets on the ports that are asked for which --holder leaves out
// although nothing shows who holds them.
func (f listFilter) unseen(sockets []check.Holder) int {
	n := 0
	for _, h := range sockets {
		if h.PID == 0 && !h.Kernel && f.onPorts(h) && !f.matches(h) {
			n++
		}
	}
	return n
}

// onPorts reports whether a socket is on a port that is asked for.
func (f listFilter) onPorts(h check.Holder) bool {
	return len(f.ports) == 0 || slices.ContainsFunc(f.ports, func(p config.Port) bool { return onPort(h, p) })
}

func (f listFilter) matches(h check.Holder) bool {
	if !f.onPorts(h) {
		return false
	}
	if f.holder == "" {
		return true
	}
	names := []string{h.Process, h.User, h.Unit, strings.TrimSuffix(h.Unit, ".service"), strings.TrimSuffix(h.Process, ".exe")}
	if h.Executable != "" {
		names = append(names, check.BaseName(h.Executable))
	}
	if h.Listed != nil && h.Names != nil {
		names = append(names, h.Names()...)
	}
	if h.User == "" && h.UID != nil && *h.UID == 0 {
		names = append(names, "root") // the list shows it so
	}
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
