package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/internal/within"
	"github.com/org/portcheck/port"
	"github.com/org/portcheck/report"
)

// initOptions are the flags of init.
type initOptions struct {
	connectOptions
	from     string
	fromHost bool
}

func (a *app) init() *cobra.Command {
	o := &initOptions{}
	cmd := &cobra.Command{
		Use:   "init [--from FILE | --from-host]",
		Short: "Write a commented portcheck.yml",
		Long: `Writes portcheck.yml in the current directory: with a sample need, with the ports
of another file, or with those that listen on this machine now, each with its
owner. It never overwrites a file.`,
		Example: `  portcheck init
  portcheck init --from compose.yaml
  sudo portcheck init --from-host`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.from, "from", "", "take the ports of `FILE`, such as a Compose file")
	f.BoolVar(&o.fromHost, "from-host", false, "take what listens on this machine now; root sees all owners")
	o.connectFlags(f)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.runInit(cmd.Context(), o) }
	return cmd
}

func (a *app) runInit(ctx context.Context, o *initOptions) error {
	const name = "portcheck.yml"
	if o.from != "" && o.fromHost {
		return usageError(errors.New("--from and --from-host exclude each other"), "see `portcheck init --help`")
	}
	if err := a.refuseRelative(name); err != nil {
		return err
	}
	for _, file := range config.FileNames() {
		if _, err := os.Lstat(filepath.FromSlash(file)); !errors.Is(err, fs.ErrNotExist) {
			return usageError(fmt.Errorf("%s is here already: init never overwrites a manifest", file), "rename it or remove it first, or run init in another directory")
		}
	}
	here, err := within.WorkingDirectory()
	if err != nil {
		return err
	}
	d := sample()
	switch {
	case o.from != "":
		d, err = a.draftFromFile(ctx, o.from)
	case o.fromHost:
		err = a.onTarget("local", o.connectOptions, func(t check.Target) error {
			d, err = draftFromHost(ctx, t, check.Options{Tool: tool(), Timeout: o.timeout})
			return err
		})
	}
	if err != nil {
		return err
	}
	if d.App == "" {
		d.App = filepath.Base(here)
	}
	if len(d.Ports) == 0 {
		return usageError(errors.New("nothing was found that can be written as a need"+leftText(d.Left)), "")
	}
	var warnings []string
	if o.from != "" { // what listens here does exist
		if warnings, err = lostByInit(ctx, d, o.from); err != nil {
			return err
		}
	}
	if err := allowDuplicates(ctx, &d); err != nil {
		return err
	}
	dir, err := makeDirectory(".", a.writeBounds())
	if err != nil {
		return writeFailure(name, withoutPath(err))
	}
	defer dir.Close()
	temporary, err := createIn(dir, ".portcheck-", "", page{[]byte(d.Text())}, readable)
	if err != nil {
		return writeFailure(name, withoutPath(err))
	}
	err = dir.Link(temporary, name) // unlike a rename, it replaces nothing
	if err = errors.Join(err, dir.Remove(temporary)); err != nil {
		return writeFailure(name, withoutPath(err))
	}
	for _, text := range warnings {
		a.logf("%s", text)
	}
	a.logf("%s is written: `portcheck lint` checks it, and `portcheck` its ports", name)
	if o.from == "" && !o.fromHost {
		a.hintAtCompose(name)
	}
	return nil
}

// hintAtCompose names a Compose file in the current directory, from which the manifest
// could have been written.
func (a *app) hintAtCompose(written string) {
	for _, file := range config.ComposeNames() {
		if _, err := os.Lstat(file); err == nil {
			a.logf("%s is here: `rm %s && portcheck init --from %s` takes its ports; without a manifest, `portcheck` reads it itself", file, written, file)
			return
		}
	}
}

func leftText(left []string) string {
	if len(left) == 0 {
		return ""
	}
	return ": " + safeWords(strings.Join(left, "; "))
}

// sample returns a manifest with one need.
func sample() config.Draft {
	p := config.Port{
		Name: "web", Ports: port.One(8080), Protocols: []port.Protocol{port.TCP}, Addresses: []port.Address{port.Any},
		Expect: config.Free, Severity: config.SeverityError,
	}
	return config.Draft{Manifest: config.Manifest{Ports: []config.Port{p}}, Comments: []string{"change this: one entry for each port"}}
}

// draftFromFile returns the needs of a file.
func (a *app) draftFromFile(ctx context.Context, file string) (config.Draft, error) {
	if err := a.refuseToRead(file); err != nil {
		return config.Draft{}, err
	}
	vars := a.variables()
	var d config.Draft
	problems, err := untilCancelled(ctx, func() []config.Problem {
		all, problems := config.Load([]string{file}, a.stdin, config.Options{Bounds: a.readBounds(), Getenv: vars.getenv, Withheld: vars.refused != "", Lint: true})
		for _, m := range all {
			if d.App == "" {
				d.App, d.Host, d.Targets = m.App, m.Host, m.Targets
			}
			for _, p := range m.Ports {
				d.Ports = append(d.Ports, p)
				d.Comments = append(d.Comments, p.At.String())
			}
		}
		return problems
	})
	for _, note := range vars.notes() {
		a.logf("%s", note)
	}
	if err == nil && len(problems) > 0 {
		err = problemsError(problems)
	}
	return d, err
}

// lostByInit says of which needs of a file only one can have the port or the name. The
// manifest that is written from it has no replicas, and allows the rest.
func lostByInit(ctx context.Context, d config.Draft, file string) ([]string, error) {
	needs := make([]check.Need, len(d.Ports))
	for i, p := range d.Ports {
		needs[i] = check.Need{Port: p, App: d.App, Target: "local"}
	}
	r, err := check.Lint(ctx, needs, tool())
	if err != nil {
		return nil, err
	}
	const most = 10
	var all []string
	duplicates := false
	for _, x := range r.Results {
		for _, n := range x.Notices {
			if n.Code.Excludes() {
				all = append(all, safeWords(fmt.Sprintf("%s: warning: %s: %s [%s]", x.Source, x.Name, n.Message, n.Code)))
				duplicates = duplicates || n.Code == config.Duplicate
			}
		}
	}
	if more := len(all) - most; more > 0 {
		all = append(all[:most], fmt.Sprintf("%s of this kind: `portcheck lint %s` lists all", check.Counted(more, "more warning"), safeWords(file)))
	}
	first := map[string]int{} // the need that has a name
	for i, name := range d.Names() {
		p := d.Ports[i]
		wanted := strings.ToLower(p.Name)
		if at, taken := first[wanted]; taken && len(all) < 2*most {
			all = append(all, safeWords(fmt.Sprintf("%s: warning: the name %q is taken by the need at %s, so this one is named %s", p.At, p.Name, d.Ports[at].At, name)))
		} else if !taken {
			first[wanted] = i
		}
	}
	if duplicates {
		all = append(all, "what is written has `allow: [duplicate]` where the port is needed twice: if these apps run at the same time, give each another port, and take that out")
	}
	return all, nil
}

// allowDuplicates lets needs that exclude each other pass lint: they were found so.
func allowDuplicates(ctx context.Context, d *config.Draft) error {
	var needs []check.Need
	for i := range d.Ports {
		p := d.Ports[i]
		p.At.File, p.Group, p.Replicas = "", "", 0 // as in the file that is written
		needs = append(needs, check.Need{Port: p, App: d.App, Target: "local"})
	}
	r, err := check.Lint(ctx, needs, tool())
	if err != nil {
		return err
	}
	i := 0
	for k := range d.Ports {
		for range d.Ports[k].Protocols {
			for _, n := range r.Results[i].Notices {
				if p := &d.Ports[k]; n.Code == config.Duplicate && !slices.Contains(p.Allow, n.Code) {
					p.Allow = append(slices.Clip(p.Allow), n.Code)
					d.Comments[k] += " (excludes another need here)"
					break
				}
			}
			i++
		}
	}
	return nil
}

// draftFromHost returns a need for each port on which something listens, with its
// owner. What it leaves out would not be owned if it were checked now.
func draftFromHost(ctx context.Context, t check.Target, o check.Options) (config.Draft, error) {
	listing, err := check.List(ctx, t, o)
	if err != nil {
		return config.Draft{}, unknownError(err)
	}
	d := listened(listing.Sockets, listing.Targets[0].EphemeralPorts())
	var needs []check.Need
	for i, p := range d.Ports {
		p.Name = fmt.Sprint(i)
		p.Allow = []config.NoticeCode{config.Duplicate}
		needs = append(needs, check.Need{Port: p, App: "init", Target: t.Name})
	}
	r, err := check.Run(ctx, needs, []check.Target{t}, o)
	if err != nil {
		return config.Draft{}, err
	}
	var kept config.Draft
	kept.Left = d.Left
	for i, p := range d.Ports {
		at := slices.IndexFunc(r.Results, func(x check.Result) bool { return x.Name == fmt.Sprint(i) })
		switch {
		case at < 0:
		case r.Results[at].Status == check.Owned, r.Results[at].Status == check.Free:
			kept.Ports, kept.Comments = append(kept.Ports, p), append(kept.Comments, d.Comments[i])
		default:
			kept.Left = append(kept.Left, fmt.Sprintf("%s: %s", p.Name, r.Results[at].Message))
		}
	}
	return kept, nil
}

// listened returns a need for each port and owners of sockets, but for ports that the
// system chooses.
func listened(sockets []check.Holder, ephemeral *port.Bits) config.Draft {
	type place struct {
		protocol port.Protocol
		port     uint16
		address  string
	}
	type socket struct {
		place
		holders []check.Holder
	}
	var all []*socket
	index := map[place]*socket{}
	for _, h := range sockets {
		at := place{h.Protocol, h.Port, h.Address}
		if index[at] == nil {
			index[at] = &socket{place: at}
			all = append(all, index[at])
		}
		index[at].holders = append(index[at].holders, h)
	}
	var d config.Draft
	need := map[string]int{} // by port and owners
	for _, s := range all {
		text := fmt.Sprintf("%s %s port %d", s.protocol, s.address, s.port)
		var owners []config.Owner
		known := true
		for _, h := range s.holders {
			owner := report.OwnerOf(h)
			known = known && owner != config.Owner{}
			if !slices.Contains(owners, owner) {
				owners = append(owners, owner)
			}
		}
		address := port.Address(s.address)
		switch address {
		case "0.0.0.0":
			address = port.Any4
		case "::":
			address = port.Any
		}
		parsed, err := port.ParseAddress(string(address))
		switch {
		case !known:
			d.Left = append(d.Left, text+": no owner is known")
			continue
		case ephemeral.Has(s.port):
			d.Left = append(d.Left, text+": the system has chosen the port (ephemeral), so it is another one after each start")
			continue
		case err != nil:
			d.Left = append(d.Left, text+": "+err.Error())
			continue
		}
		key := fmt.Sprint(s.protocol, s.port, owners)
		if i, found := need[key]; found {
			d.Ports[i].Addresses = joined(d.Ports[i].Addresses, parsed)
			continue
		}
		need[key] = len(d.Ports)
		first := s.holders[0]
		d.Ports = append(d.Ports, config.Port{
			Name: fmt.Sprintf("%s-%d", holderWord(first), s.port), Ports: port.One(s.port), Protocols: []port.Protocol{s.protocol},
			Addresses: []port.Address{parsed}, Expect: config.Free, Severity: config.SeverityError, Owner: owners,
		})
		d.Comments = append(d.Comments, strings.TrimSpace(first.Process+" "+first.User))
	}
	return d
}

// joined returns addresses with another one: any has all of IPv4 and IPv6.
func joined(all []port.Address, a port.Address) []port.Address {
	wild := func(a port.Address) bool { return a == port.Any || a == port.Any4 }
	if wild(a) && slices.ContainsFunc(all, wild) {
		all = slices.DeleteFunc(all, wild)
		a = port.Any
	}
	if !slices.Contains(all, a) {
		all = append(all, a)
	}
	return all
}

// holderWord returns a word for a holder.
func holderWord(h check.Holder) string {
	switch c := h.Container; {
	case c != nil && c.Name != "":
		return c.Name
	case h.Process != "":
		return h.Process
	}
	return "port"
}
