package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

func (a *app) free() *cobra.Command {
	var spec, format, protocol, address string
	var ranges, exclude portsFlag
	var count, block int
	var wait waitFlag
	var connect connectOptions
	cmd := &cobra.Command{
		Use:   "free --range R [-n N]",
		Short: "Print ports that can be bound now, one per line",
		Long: `Prints ports of the range that an app could bind at this moment, in the order of
the range; last those that browsers refuse, and those that the system gives to
outgoing connections. The exit code is 1 if there are fewer than N.

It reads no manifest, so leave the ports of one out by --exclude. It holds nothing:
two callers may get the same port, and any program may take it
before your app does. To hold a port for a job, use "portcheck assign".`,
		Example: `  portcheck free --range 8000-8099
  portcheck free --range 20000-20999 -n 3 --protocol tcp,udp
  portcheck free --range 20000-20999 --block 4 --wait 30s
  PORT=$(portcheck free --range 8000-8099) && ./server --port "$PORT"`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(&ranges, "range", "ports to choose from, such as `8000-8099,9443` (required)")
	f.Var(&exclude, "exclude", "ports to leave out, such as `8080,8090-8092`")
	f.IntVarP(&count, "count", "n", 1, "number of ports or blocks to print")
	f.IntVar(&block, "block", 1, "print blocks of `N` neighbours, such as 8000-8003")
	f.StringVar(&protocol, "protocol", "tcp", "tcp, udp, or tcp,udp for ports that are free for both")
	f.StringVar(&address, "address", "any", "address to bind: any, any4, any6, loopback or an IP address")
	f.StringVarP(&spec, "target", "t", "auto", "where to bind: `TARGET` is "+config.TargetSyntax())
	f.Var(&wait, "wait", "wait for this long until there are enough, such as `30s`")
	connect.connectFlags(f)
	f.StringVarP(&format, "format", "f", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		addr, err := port.ParseAddress(address)
		if err != nil {
			err = fmt.Errorf("--address %w", err)
		}
		protocols, known := parseProtocols(protocol)
		switch {
		case ranges.set == nil:
			err = fmt.Errorf("--range is missing: give the ports to choose from, such as --range 8000-8099")
		case count < 1 || count > port.MaxPort:
			err = fmt.Errorf("-n %d: want a number from 1 to %d", count, port.MaxPort)
		case block < 1 || block > port.MaxPort:
			err = fmt.Errorf("--block %d: want a number from 1 to %d", block, port.MaxPort)
		case count > port.MaxPort/block:
			err = fmt.Errorf("-n %d: want at most %d blocks of %d ports", count, port.MaxPort/block, block)
		case !known:
			err = fmt.Errorf("--protocol %q: want tcp, udp or tcp,udp", protocol)
		case format != "text" && format != "json":
			return notOneOf("-f", format, []string{"json", "text"})
		}
		if err != nil {
			return usageError(err, "see `portcheck free --help`")
		}
		return a.onTargetFor(wait.Duration, spec, connect, func(t check.Target) error {
			need := check.Need{Target: t.Name, Port: config.Port{
				Name: "free", Expect: config.Free, Protocols: protocols, Addresses: []port.Address{addr},
				Ports: port.Range{First: 1, Last: uint16(block)}, Range: ranges.set, Exclude: exclude.set, Wait: wait.Duration,
			}}
			t.Job = "" // a port that is leased to this job is none for something new
			p := a.startProgress(1)
			defer p.close()
			ports, unseen, err := check.FreePorts(cmd.Context(), need, t, check.Options{Alternatives: count, Timeout: connect.timeout, Progress: p})
			if cmd.Context().Err() != nil {
				return err
			}
			if err != nil {
				return unknownError(err)
			}
			a.tell("", unseen)
			lost := writeFailure("the ports", a.printPorts(ports, block, format))
			if len(ports) < count {
				if lost != nil {
					a.logf("%s", safeWords(lost.Error()))
				}
				return failure{errors.New(need.Few(len(ports), count)), exitUnmet, ""}
			}
			return lost
		})
	}
	return cmd
}

// tell writes notices about a target from which ports are chosen to stderr.
func (a *app) tell(target string, notices []check.Notice) {
	for _, n := range notices {
		a.logf("%s: %s", cmp.Or(n.Severity, "note"), safeWords(target+n.Message))
	}
}

// parseProtocols parses protocols with commas between them, each once.
func parseProtocols(text string) ([]port.Protocol, bool) {
	var all []port.Protocol
	for word := range strings.SplitSeq(text, ",") {
		proto := port.Protocol(word)
		if !slices.Contains(port.Protocols, proto) || slices.Contains(all, proto) {
			return nil, false
		}
		all = append(all, proto)
	}
	return all, true
}

// printPorts prints ports, or blocks of so many neighbours by their first ports.
func (a *app) printPorts(firsts []uint16, size int, format string) error {
	ports := []uint16{}
	var blocks []string
	for _, first := range firsts {
		block := port.Range{First: first, Last: first + uint16(size-1)}
		blocks = append(blocks, block.String())
		ports = slices.AppendSeq(ports, port.Set{block}.All)
	}
	if format == "json" {
		if size == 1 {
			blocks = nil
		}
		return json.NewEncoder(a.stdout).Encode(struct {
			Version int      `json:"version"`
			Ports   []uint16 `json:"ports"`
			Blocks  []string `json:"blocks,omitempty"`
		}{1, ports, blocks})
	}
	for _, b := range blocks {
		if _, err := fmt.Fprintln(a.stdout, b); err != nil {
			return err
		}
	}
	return nil
}
