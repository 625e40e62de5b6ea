package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/org/portcheck/port"
)

// Draft is a manifest that is to be written, with comments for people.
type Draft struct {
	Manifest
	Comments []string // by index of Ports
	Left     []string // what was left out
}

// Text returns the draft as a manifest with comments that explain the format. Names are
// changed as far as a manifest needs it.
func (d Draft) Text() string {
	var b strings.Builder
	b.WriteString(`# The ports that this app needs. "portcheck lint" checks this file, "portcheck" checks
# the ports. All keys: https://github.com/org/portcheck/blob/v1/docs/manifest.md
version: 1
`)
	fmt.Fprintf(&b, "app: %s\n", scalarText(d.App))
	if d.Host != "" {
		fmt.Fprintf(&b, "host: %s\n", scalarText(d.Host))
	}
	if len(d.Targets) > 0 {
		b.WriteString("targets:\n")
		for _, t := range d.Targets {
			fmt.Fprintf(&b, "  %s: %s\n", scalarText(t.Name), strconv.QuoteToASCII(t.URL))
		}
	}
	b.WriteString(`
# Where alternatives come from if a port is taken, and how long to wait for it:
# range: 20000-20999
# wait: 30s

ports:
`)
	names, envs := d.Names(), map[string]bool{}
	for i, p := range d.Ports {
		if envs[p.Env] {
			p.Env = ""
		}
		envs[p.Env] = p.Env != ""
		comment := ""
		if i < len(d.Comments) && d.Comments[i] != "" {
			comment = " # " + oneLine(d.Comments[i])
		}
		fmt.Fprintf(&b, "  - name: %s%s\n", scalarText(names[i]), comment)
		for _, line := range p.lines() {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	for i, text := range d.Left {
		if i == 0 {
			b.WriteString("\n# Left out:\n")
		}
		fmt.Fprintf(&b, "# - %s\n", oneLine(text))
	}
	return b.String()
}

// Names returns the names that the needs have in Text: valid, and each its own.
func (d Draft) Names() []string {
	all, taken := make([]string, len(d.Ports)), map[string]bool{}
	for i, p := range d.Ports {
		name := strings.ToLower(needName(p.Name, "port"))
		all[i] = name
		for n := 2; taken[all[i]]; n++ {
			suffix := "-" + strconv.Itoa(n)
			all[i] = name[:min(len(name), nameMax-len(suffix))] + suffix
		}
		taken[all[i]] = true
	}
	return all
}

// lines returns the keys of a need that are not at their defaults, without its name.
func (p Port) lines() []string {
	all := []string{"port: " + p.portText()}
	add := func(key, value string) { all = append(all, key+": "+value) }
	if !p.Expect.Connects() {
		if !slices.Equal(p.Protocols, []port.Protocol{port.TCP}) {
			add("protocol", listText(texts(p.Protocols)))
		}
		if !slices.Equal(p.Addresses, []port.Address{port.Any}) {
			add("address", listText(texts(p.Addresses)))
		}
	}
	if p.Expect != Free && p.Expect != "" {
		add("expect", string(p.Expect))
	}
	if p.Remote != "" {
		add("remote", scalarText(p.Remote))
	}
	if p.ConnectTimeout > 0 {
		add("connect_timeout", p.ConnectTimeout.String())
	}
	if p.Only {
		add("only", "true")
	}
	var owners []string
	for _, o := range p.Owner {
		owners = append(owners, o.text())
	}
	switch len(owners) {
	case 0:
	case 1:
		add("owner", owners[0])
	default:
		add("owner", "["+strings.Join(owners, ", ")+"]")
	}
	var socket []string
	if p.ReuseAddress != nil {
		socket = append(socket, fmt.Sprintf("reuse_address: %t", *p.ReuseAddress))
	}
	if p.ReusePort {
		socket = append(socket, "reuse_port: true")
	}
	if p.Device != "" {
		socket = append(socket, "device: "+scalarText(p.Device))
	}
	if len(socket) > 0 {
		add("socket", "{"+strings.Join(socket, ", ")+"}")
	}
	if p.RunAs != "" {
		add("run_as", strconv.QuoteToASCII(p.RunAs))
	}
	if len(p.Range) > 0 {
		add("range", setText(p.Range))
	}
	if len(p.Exclude) > 0 {
		add("exclude", setText(p.Exclude))
	}
	if p.Wait > 0 {
		add("wait", p.Wait.String())
	}
	if len(p.Allow) > 0 {
		add("allow", "["+strings.Join(texts(p.Allow), ", ")+"]")
	}
	if p.Guard != nil {
		add("guard", strconv.FormatBool(*p.Guard))
	}
	if p.Env != "" {
		add("env", scalarText(p.Env))
	}
	if p.Severity == SeverityWarning {
		add("severity", string(p.Severity))
	}
	if len(p.Targets) > 0 {
		add("targets", listText(p.Targets))
	}
	return all
}

func (o Owner) text() string {
	var parts []string
	for _, f := range []struct{ key, value string }{
		{"process", o.Process},
		{"executable", o.Executable},
		{"unit", o.Unit},
		{"container", o.Container},
		{"image", o.Image},
		{"compose", o.Compose},
		{"user", o.User},
	} {
		if f.value != "" {
			parts = append(parts, f.key+": "+scalarText(f.value))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// listText returns one text as it is, and several as a list.
func listText(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = scalarText(s)
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func setText(s port.Set) string {
	all := make([]string, len(s))
	for i, r := range s {
		all[i] = r.String()
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// scalarText quotes text unless every YAML parser takes it for that text. The words for
// true, false and null have at most five letters.
func scalarText(s string) string {
	plain := len(s) > 0 && ('a' <= s[0]|0x20 && s[0]|0x20 <= 'z')
	for _, r := range s {
		plain = plain && ('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_./@-", r))
	}
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		plain = false
	}
	if plain {
		return s
	}
	return strconv.QuoteToASCII(s)
}
