package report

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
)

// assignmentCompose writes a file that Compose merges into the project: all ports of
// each service that has one of the assignment. A list with !override replaces the
// service's own one, which is why the ports that stay are in it, too.
func assignmentCompose(w io.Writer, a check.Assignment, _ Options) error {
	var services []*config.Service
	assigned := map[*config.Service]map[int]uint16{} // by index of the port
	for _, p := range a.Ports {
		s := p.Service
		if s == nil {
			return fmt.Errorf("%s: %s is not published by a Compose file", whole(p.Source.String()), Safe(p.Name))
		}
		ports := assigned[s]
		if ports == nil {
			ports = map[int]uint16{}
			assigned[s], services = ports, append(services, s)
		}
		if s.OnHost && p.Declared != 0 {
			return fmt.Errorf("%s: %s has port %d instead of %d, but is in the host's network, where no override file can move it", whole(p.Source.String()), Safe(p.Name), p.Port, p.Declared)
		}
		for n := range int(max(p.Port, p.PortLast)-p.Port) + 1 {
			got, before := p.Port+uint16(n), ports[p.Entry+n]
			if before != 0 && before != got {
				return fmt.Errorf("%s: %s has port %d on one target and %d on another, which one override file can't hold", whole(p.Source.String()), Safe(p.Name), before, got)
			}
			ports[p.Entry+n] = got
		}
	}
	var b strings.Builder
	b.WriteString("# Ports that portcheck holds: docker compose -f COMPOSE_FILE -f THIS_FILE up\n# This needs Docker Compose 2.24.4 or later.\n")
	if slices.ContainsFunc(services, func(s *config.Service) bool { return !s.OnHost }) {
		b.WriteString("services:\n")
	} else {
		b.WriteString("services: {}\n")
	}
	for _, s := range services {
		if s.OnHost {
			continue
		}
		fmt.Fprintf(&b, "  %s:\n    ports: !override\n", composeText(s.Name))
		for i, p := range s.Ports {
			if got := assigned[s][i]; got != 0 {
				p.Published = strconv.Itoa(int(got))
			}
			fmt.Fprintf(&b, "      - {target: %d", p.Target)
			for _, f := range []struct{ key, value string }{
				{"published", p.Published},
				{"host_ip", p.HostIP},
				{"protocol", p.Protocol},
				{"mode", p.Mode},
				{"name", p.Name},
				{"app_protocol", p.AppProtocol},
			} {
				if f.value != "" {
					fmt.Fprintf(&b, ", %s: %s", f.key, composeText(f.value))
				}
			}
			b.WriteString("}\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// composeText quotes a text for a Compose file. Compose replaces variables, and YAML
// knows the escapes of Go.
func composeText(s string) string {
	if net.ParseIP(s) != nil {
		return `"` + s + `"`
	}
	return `"` + escape(strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", "$$").Replace(s), unlimited) + `"`
}
