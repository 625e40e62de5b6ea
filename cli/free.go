package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

func (a *app) free() *cobra.Command {
	var spec, format, protocol, address string
	var ranges, exclude portsFlag
	var count int
	var connect connectOptions
	cmd := &cobra.Command{
		Use:   "free --range R [-n N]",
		Short: "Print ports that can be bound now, one per line",
		Long: `Prints ports of the range that an app could bind at this moment, in the order of
the range. The exit code is 1 if there are fewer than N.`,
		Example: `  portcheck free --range 8000-8099
  portcheck free --range 20000-20999 -n 3 --protocol udp
  PORT=$(portcheck free --range 8000-8099) && ./server --port "$PORT"`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(&ranges, "range", "ports to choose from, such as `8000-8099,9443` (required)")
	f.Var(&exclude, "exclude", "ports to leave out, such as `8080,8090-8092`")
	f.IntVarP(&count, "count", "n", 1, "number of ports to print")
	f.StringVar(&protocol, "protocol", "tcp", "tcp or udp")
	f.StringVar(&address, "address", "any", "address to bind: any, any4, any6, loopback or an IP address")
	f.StringVarP(&spec, "target", "t", "auto", "where to bind: `TARGET` is "+config.TargetSyntax())
	connect.connectFlags(f)
	f.StringVarP(&format, "format", "f", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		addr, err := port.ParseAddress(address)
		proto := port.Protocol(protocol)
		switch {
		case ranges.set == nil:
			err = fmt.Errorf("--range is missing: give the ports to choose from, such as --range 8000-8099")
		case count < 1 || count > port.MaxPort:
			err = fmt.Errorf("-n %d: want a number from 1 to %d", count, port.MaxPort)
		case proto != port.TCP && proto != port.UDP:
			err = fmt.Errorf("--protocol %q: want tcp or udp", protocol)
		case format != "text" && format != "json":
			err = fmt.Errorf("-f %q: want text or json", format)
		}
		if err != nil {
			return usageError(err, "see `portcheck free --help`")
		}
		return a.onTarget(spec, connect, func(t check.Target) error {
			need := check.Need{Target: t.Name, Port: config.Port{
				Name: "free", Expect: config.Free, Protocols: []port.Protocol{proto}, Addresses: []port.Address{addr},
				Ports: port.One(ranges.set[0].First), Range: ranges.set, Exclude: exclude.set,
			}}
			ports, unseen, err := check.FreePorts(cmd.Context(), need, t, check.Options{Job: a.ownJob(), Alternatives: count, Timeout: connect.timeout})
			if cmd.Context().Err() != nil {
				return err
			}
			if err != nil {
				return unknownError(err)
			}
			for _, what := range unseen {
				a.logf("note: %s", safeWords(what))
			}
			lost := writeFailure("the ports", a.printPorts(ports, format))
			if len(ports) < count {
				if lost != nil {
					a.logf("%s", safeWords(lost.Error()))
				}
				return failure{fmt.Errorf("%s has only %d of %d free %s ports", ranges.set, len(ports), count, proto), exitUnmet, ""}
			}
			return lost
		})
	}
	return cmd
}

func (a *app) printPorts(ports []uint16, format string) error {
	if format == "json" {
		if ports == nil {
			ports = []uint16{}
		}
		return json.NewEncoder(a.stdout).Encode(struct {
			Version int      `json:"version"`
			Ports   []uint16 `json:"ports"`
		}{1, ports})
	}
	for _, p := range ports {
		if _, err := fmt.Fprintln(a.stdout, p); err != nil {
			return err
		}
	}
	return nil
}
