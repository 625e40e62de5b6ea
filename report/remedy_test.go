package report

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

func TestEveryUnmetStatusHasARemedy(t *testing.T) {
	for _, s := range check.Statuses {
		got := Remedies(need(s, "x"))
		if s.OK() {
			if len(got) != 0 {
				t.Errorf("%s without a duplicate: %q", s, got)
			}
			continue
		}
		if len(got) != 1 || strings.TrimSpace(got[0]) == "" || strings.Contains(got[0], "\n") {
			t.Errorf("%s: %q, want one line", s, got)
		}
	}
	if got := Remedies(met(check.Free, "tcp 8080 is free")); len(got) != 0 {
		t.Errorf("a met need has remedies: %q", got)
	}
}

func TestRemedyFitsTheHolder(t *testing.T) {
	holder := func(change func(*check.Holder)) check.Holder {
		h := check.Holder{Address: "::", Port: 8080, State: "listen", PID: 4711, Process: "app", Executable: "/opt/app"}
		change(&h)
		return h
	}
	for name, c := range map[string]struct {
		holders []check.Holder
		want    []string
		not     []string
	}{
		"unit":              {[]check.Holder{nginx()}, []string{"`systemctl stop nginx.service`", "`owner: {unit: nginx.service}`"}, []string{"kill"}},
		"container":         {[]check.Holder{postgres()}, []string{"`docker stop shop-db-1`"}, []string{"kill", "systemctl"}},
		"process":           {[]check.Holder{python()}, []string{"stop python3: `kill 4711`", "{process: python3}"}, []string{"systemctl"}},
		"unseen":            {[]check.Holder{unseen()}, []string{"as root", "ss -tlnp sport = :8080"}, []string{"kill", "owner"}},
		"seen after unseen": {[]check.Holder{unseen(), nginx()}, []string{"`systemctl stop nginx.service`"}, []string{"more", "owner"}},
		"two units":         {[]check.Holder{nginx(), python()}, []string{"`systemctl stop nginx.service`; then the same for 1 more"}, []string{"owner"}},
		"workers":           {[]check.Holder{nginx(), nginx(), nginx()}, []string{"systemctl", "owner"}, []string{"more"}},
		"nameless container": {[]check.Holder{holder(func(h *check.Holder) {
			h.Container = &check.Container{ID: "0123456789abcdef0123456789abcdef"}
		})}, []string{"`docker stop 0123456789ab`"}, []string{"kill"}},
		"published by docker": {
			[]check.Holder{holder(func(h *check.Holder) { h.Process, h.Unit = "docker-proxy", "docker.service" })},
			[]string{"publish=8080/tcp"},
			[]string{"systemctl", "kill"},
		},
		"systemd itself": {[]check.Holder{holder(func(h *check.Holder) { h.PID, h.Unit = 1, "init.scope" })}, []string{"list-sockets"}, []string{"kill"}},
		"login session":  {[]check.Holder{holder(func(h *check.Holder) { h.Unit = "user@1000.service" })}, []string{"kill 4711"}, []string{"systemctl"}},
		"odd unit":       {[]check.Holder{holder(func(h *check.Holder) { h.Unit = "a;reboot.service" })}, []string{"kill 4711"}, []string{"reboot"}},
		"unit as a flag": {[]check.Holder{holder(func(h *check.Holder) { h.Unit = "-Hevil.service" })}, []string{"kill 4711"}, []string{"evil"}},
		"odd container": {
			[]check.Holder{holder(func(h *check.Holder) { h.Container = &check.Container{ID: "$(reboot)", Name: "`reboot`"} })},
			[]string{"kill 4711"},
			[]string{"reboot"},
		},
		"odd process": {
			[]check.Holder{holder(func(h *check.Holder) { h.Process, h.Executable = "x\n::error::y", "/opt/x y" })},
			[]string{`stop x\n::error::y: `, "kill 4711"},
			[]string{"owner"},
		},
		"YAML word":  {[]check.Holder{holder(func(h *check.Holder) { h.Executable = "/usr/bin/yes" })}, []string{`{process: "yes"}`}, nil},
		"connection": {[]check.Holder{holder(func(h *check.Holder) { h.State = "connected" })}, []string{"wait: 30s", "kill 4711"}, nil},
	} {
		got := strings.Join(Remedies(taken(check.InUse, "x", c.holders...)), "\n")
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %s\nlacks %s", name, got, want)
			}
		}
		for _, not := range c.not {
			if strings.Contains(got, not) {
				t.Errorf("%s: %s\nhas %s", name, got, not)
			}
		}
	}
}

// A process that has run for weeks is another case than one that started a minute
// ago.
func TestRemedyHasTheStartTime(t *testing.T) {
	early, late := nginx(), nginx()
	before := early.Started.Add(-time.Hour).In(time.FixedZone("", 3600))
	early.Started = &before
	unknown := nginx()
	unknown.Started = nil
	for name, c := range map[string]struct {
		holders []check.Holder
		want    string
	}{
		"one":          {[]check.Holder{late}, "nginx has run since 2026-01-02 03:04:05 UTC; stop its service"},
		"workers":      {[]check.Holder{late, early, unknown}, "nginx has run since 2026-01-02 02:04:05 UTC; stop its service"},
		"not known":    {[]check.Holder{unknown}, "stop its service"},
		"of the first": {[]check.Holder{python(), early}, "stop python3: `kill 4711`; then"},
	} {
		if got := Remedies(taken(check.InUse, "x", c.holders...))[0]; !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s\nlacks %s", name, got, c.want)
		}
	}
}

// A pid or a unit of another machine must not be stopped on this one.
func TestRemedyNamesTheTarget(t *testing.T) {
	r := taken(check.InUse, "x", python())
	r.Target = "app1"
	if got := Remedies(r); !strings.HasPrefix(got[0], "on app1: stop python3") {
		t.Errorf("%q", got)
	}
}

func TestRemedyForAFlagNamesFlags(t *testing.T) {
	for _, s := range check.Statuses {
		r := taken(s, "x", python())
		r.Source, r.Asked, r.Alternatives, r.From = config.Position{File: "--port"}, 3, nil, nil
		all := strings.Join(hints(r), "\n")
		for _, key := range []string{"`wait: ", "`range: ", "`owner: "} {
			if strings.Contains(all, key) {
				t.Errorf("%s: a manifest's key %s for a need without a manifest: %s", s, key, all)
			}
		}
	}
}

func TestRemedyForDenied(t *testing.T) {
	r := need(check.Denied, "x")
	r.Port = 80
	low := Remedies(r)[0]
	r.Port = 8080
	high := Remedies(r)[0]
	if !strings.Contains(low, "CAP_NET_BIND_SERVICE") || !strings.Contains(low, "net.ipv4.ip_unprivileged_port_start=80") {
		t.Errorf("port 80: %s", low)
	}
	if strings.Contains(high, "CAP_NET_BIND_SERVICE") || !strings.Contains(high, "sysctl net.ipv4.ip_unprivileged_port_start") {
		t.Errorf("port 8080: %s", high)
	}
}

func TestRemedyHasThePortThatIsTaken(t *testing.T) {
	r := taken(check.InUse, "x", unseen())
	r.Port, r.PortLast, r.Protocol, r.Holders[0].Port = 8000, 8003, port.UDP, 8002
	if got := Remedies(r); !strings.Contains(got[0], "ss -ulnp sport = :8002") {
		t.Errorf("%q", got)
	}
}

func TestRemediesOfADuplicate(t *testing.T) {
	r := need(check.Free, "tcp 8080 is free")
	r.Notices = []check.Notice{notices[config.Duplicate]}
	if got := Remedies(r); len(got) != 1 || !strings.Contains(got[0], "another port") {
		t.Errorf("%q", got)
	}
	r.Status = check.InUse
	if got := Remedies(r); len(got) != 2 || !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "as root") }) {
		t.Errorf("in use as well: %q", got)
	}
}

func TestMissingAddressIsNamed(t *testing.T) {
	for _, c := range []struct{ address, outcome, want, not string }{
		{"192.0.2.1", "no-address", "that 192.0.2.1 belongs", "["},
		{"::1", "no-address", "that [::1] belongs", `\x3a`},
		{"::1", "no-family", "enable IPv6", "interface"},
	} {
		r := need(check.Unavailable, "x")
		r.Endpoints = []check.Endpoint{{Address: c.address, Port: 8080, Outcome: c.outcome}}
		got := strings.Join(Remedies(r), "\n")
		if !strings.Contains(got, c.want) || strings.Contains(got, c.not) {
			t.Errorf("%s, %s: %q", c.address, c.outcome, got)
		}
	}
}
