package transport

import (
	"net/http"
	"slices"
	"strings"
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

// The engine's word about its virtual machine is in the header and in a warning, whatever
// else is known, and asked for once.
func TestVirtualMachine(t *testing.T) {
	for name, c := range map[string]struct {
		info  string
		seen  host.Namespace
		kind  host.NamespaceKind
		vm    string
		gaps  []string // the start of each
		asked int
	}{
		"by a helper":         {`{"OperatingSystem":"Docker Desktop","Name":"docker-desktop"}`, host.Namespace{Kind: host.NamespaceContainer}, host.NamespaceHost, "Docker Desktop", []string{`runs in the virtual machine "docker-desktop" of Docker Desktop: these are the ports there, not those of the computer`}, 1},
		"proven":              {`{"OperatingSystem":"Ubuntu 24.04","Name":"colima-work"}`, host.Namespace{Kind: host.NamespaceHost}, host.NamespaceHost, "Colima", []string{`runs in the virtual machine "colima-work" of Colima: `}, 1},
		"without root":        {`{"Name":"podman-machine-default","SecurityOptions":["name=rootless"]}`, host.Namespace{Kind: host.NamespaceUnknown}, host.NamespaceUnknown, "Podman Machine", []string{"runs in the virtual machine ", "runs without root: "}, 1},
		"hostile":             {`{"OperatingSystem":"OrbStack","Name":"a\"b\u001b[31m\n::error::x"}`, host.Namespace{Kind: host.NamespaceHost}, host.NamespaceHost, "OrbStack", []string{`runs in the virtual machine "a\"b\x1b[31m\n::error::x" of OrbStack: `}, 1},
		"a name that is long": {`{"OperatingSystem":"OrbStack","Name":"` + strings.Repeat("x", nameLimit+1) + `"}`, host.Namespace{Kind: host.NamespaceHost}, host.NamespaceHost, "OrbStack", []string{"runs in the virtual machine of OrbStack: "}, 1},
		"none":                {`{"OperatingSystem":"Debian GNU/Linux 13","Name":"ci7"}`, host.Namespace{Kind: host.NamespaceHost}, host.NamespaceHost, "", nil, 1},
		"no answer":           {``, host.Namespace{Kind: host.NamespaceHost}, host.NamespaceHost, "", nil, 2},
	} {
		asked := 0
		env := play(t, func(w http.ResponseWriter, r *http.Request) {
			asked++
			write(c.info)(w, r)
		})
		e, err := engine.New(env)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		correct := hostNetwork(e)
		for range 2 {
			facts := host.Facts{Machine: host.Machine{Namespace: c.seen}}
			if err := correct(t.Context(), &facts); err != nil {
				t.Fatal(name, err)
			}
			ns := facts.Machine.Namespace
			ok := ns.Kind == c.kind && ns.VM == c.vm && len(facts.Gaps) == len(c.gaps)
			for i := 0; ok && i < len(c.gaps); i++ {
				g := facts.Gaps[i]
				ok = g.Kind == host.GapNamespace && strings.HasPrefix(g.What, "the container engine at "+e.String()+" "+c.gaps[i])
			}
			if !ok {
				t.Errorf("%s: %+v %q", name, ns, facts.Gaps)
			}
		}
		if asked != c.asked {
			t.Errorf("%s: asked %d times, want %d", name, asked, c.asked)
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
