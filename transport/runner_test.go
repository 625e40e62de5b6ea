package transport

import (
	"net/http"
	"slices"
	"testing"

	"github.com/org/portcheck/host"
	"github.com/org/portcheck/transport/internal/engine"
)

// An engine's "host" network is the machine's only if the engine itself runs in the
// machine's network.
func TestHostNetwork(t *testing.T) {
	for name, c := range map[string]struct {
		options string // the engine's security options
		seen    host.Namespace
		want    host.NamespaceKind
		warned  bool
	}{
		"not the engine's own":     {`[]`, host.Namespace{Kind: host.NamespaceContainer}, host.NamespaceHost, false},
		"no proof":                 {`["name=seccomp,profile=default"]`, host.Namespace{Kind: host.NamespaceUnknown, AllProcesses: true}, host.NamespaceHost, false},
		"without root":             {`["name=seccomp","name=rootless"]`, host.Namespace{Kind: host.NamespaceUnknown}, host.NamespaceUnknown, true},
		"without root, in one":     {`["name=rootless"]`, host.Namespace{Kind: host.NamespaceContainer}, host.NamespaceUnknown, true},
		"an engine in a container": {`[]`, host.Namespace{Kind: host.NamespaceContainer, AllProcesses: true}, host.NamespaceContainer, true},
		"proven":                   {`["name=rootless"]`, host.Namespace{Kind: host.NamespaceHost}, host.NamespaceHost, false},
	} {
		env := play(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/info" {
				t.Errorf("%s: requested %s", name, r.URL)
			}
			write(`{"SecurityOptions":`+c.options+`}`)(w, r)
		})
		e, err := engine.New(env)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		facts := host.Facts{Machine: host.Machine{Namespace: c.seen}}
		if err := hostNetwork(e)(t.Context(), &facts); err != nil {
			t.Fatal(err)
		}
		warned := slices.ContainsFunc(facts.Gaps, func(g host.Gap) bool { return g.Kind == host.GapNamespace })
		if got := facts.Machine.Namespace.Kind; got != c.want || warned != c.warned {
			t.Errorf("%s: %s, warned %v; want %s, %v", name, got, warned, c.want, c.warned)
		}
	}
}

func TestAuto(t *testing.T) {
	for want, jobs := range map[string][]Job{
		"local":  {{}, {System: "GitLab"}, {Services: map[string]string{"x": "redis"}}},
		"runner": {{Action: true}},
		"job":    {{Action: true, Container: "x"}},
	} {
		for _, job := range jobs {
			if got := Auto(job); got != want {
				t.Errorf("%+v: %s, want %s", job, got, want)
			}
		}
	}
}

func TestSeesRunner(t *testing.T) {
	linux := func(kind host.NamespaceKind, allProcesses bool) host.Machine {
		return host.Machine{OS: "linux", Namespace: host.Namespace{Kind: kind, AllProcesses: allProcesses}}
	}
	for _, c := range []struct {
		m           host.Machine
		inContainer bool
		want        bool
	}{
		{host.Machine{OS: "darwin"}, false, true},
		{host.Machine{OS: "windows"}, true, true},
		{linux(host.NamespaceHost, true), false, true},
		{linux(host.NamespaceHost, true), true, true},
		{linux(host.NamespaceHost, false), true, false},
		{linux(host.NamespaceUnknown, true), false, true},
		{linux(host.NamespaceUnknown, true), true, false},
		{linux(host.NamespaceUnknown, false), false, false},
		{linux(host.NamespaceContainer, true), false, false},
		{linux(host.NamespaceContainer, true), true, false},
		{linux(host.NamespaceContainer, false), true, false},
	} {
		if got := seesRunner(c.m, c.inContainer); got != c.want {
			t.Errorf("%+v, in a container %v: %v", c.m, c.inContainer, got)
		}
	}
}
