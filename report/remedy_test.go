package report

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

func TestEveryUnmetStatusHasARemedy(t *testing.T) {
	for _, s := range check.Statuses {
		unmet := need(s, "x")
		if s == check.Reachable {
			unmet.Expect = config.Unreachable
		}
		got := texts(unmet)
		if s.OK() && s != check.Reachable {
			if len(got) != 0 {
				t.Errorf("%s without a duplicate: %q", s, got)
			}
			continue
		}
		if len(got) != 1 || strings.TrimSpace(got[0]) == "" || strings.Contains(got[0], "\n") {
			t.Errorf("%s: %q, want one line", s, got)
		}
	}
	if got := texts(met(check.Free, "tcp 8080 is free")); len(got) != 0 {
		t.Errorf("a met need has remedies: %q", got)
	}
}

// texts returns the texts of a result's hints, without its alternatives.
func texts(r check.Result) []string {
	var all []string
	for _, h := range hints(r) {
		if h.Kind != check.HintAlternative {
			all = append(all, h.Text)
		}
	}
	return all
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
		"container":         {[]check.Holder{postgres()}, []string{"`docker compose -p shop stop db`", "`owner: {compose: shop/db}`"}, []string{"kill", "systemctl"}},
		"process":           {[]check.Holder{python()}, []string{"stop python3: `kill 4711`", "{process: python3}"}, []string{"systemctl"}},
		"unseen":            {[]check.Holder{unseen()}, []string{"as root", "ss -tlnp sport = :8080"}, []string{"kill", "owner"}},
		"seen after unseen": {[]check.Holder{unseen(), nginx()}, []string{"`systemctl stop nginx.service`; then check again: not every process"}, []string{"owner"}},
		"two units":         {[]check.Holder{nginx(), python()}, []string{"`systemctl stop nginx.service`; then stop python3: `kill 4711`"}, []string{"owner"}},
		"workers":           {[]check.Holder{nginx(), nginx(), nginx()}, []string{"systemctl", "owner"}, []string{"more"}},
		"nameless container": {[]check.Holder{holder(func(h *check.Holder) {
			h.Container = &check.Container{ID: "0123456789abcdef0123456789abcdef"}
		})}, []string{"stop container 0123456789ab with its own engine"}, []string{"kill", "docker stop"}},
		"published by docker": {
			[]check.Holder{holder(func(h *check.Holder) {
				h.Process, h.Unit, h.Forwarder = "docker-proxy", "docker.service", &check.Forwarder{Name: "docker-proxy", For: "containers", Engine: "docker"}
			})},
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
		"this job's service": {
			[]check.Holder{holder(func(h *check.Holder) {
				h.Container = &check.Container{ID: "0123456789abcdef", Name: "ab12_postgres", Service: "postgres"}
			})},
			[]string{"this job's own service holds it", "if it is the app itself, allow it with `owner: {container: postgres}`"},
			[]string{"docker stop", "kill"},
		},
		"a unit's name is too long": {[]check.Holder{holder(func(h *check.Holder) { h.Unit = strings.Repeat("a", 193) + ".service" })}, []string{"kill 4711"}, []string{"systemctl"}},
		"a unit's longest name":     {[]check.Holder{holder(func(h *check.Holder) { h.Unit = strings.Repeat("a", 192) + ".service" })}, []string{"systemctl stop aaa"}, []string{"kill"}},
		"a unit of all letters":     {[]check.Holder{holder(func(h *check.Holder) { h.Unit = "azAZ09@:._-x.service" })}, []string{"`systemctl stop azAZ09@:._-x.service`"}, []string{"kill"}},
		"a socket unit":             {[]check.Holder{holder(func(h *check.Holder) { h.Unit = "x.socket" })}, []string{"systemctl stop x.socket"}, []string{"kill"}},
		"a scope":                   {[]check.Holder{holder(func(h *check.Holder) { h.Unit = "session-3.scope" })}, []string{"kill 4711"}, []string{"systemctl"}},
		"a job's leftover":          {[]check.Holder{holder(func(h *check.Holder) { h.Unit = "gitlab-runner.service" })}, []string{"kill 4711", "owner: {process"}, []string{"systemctl", "{unit"}},
		"a runner itself":           {[]check.Holder{holder(func(h *check.Holder) { h.Process, h.Unit = "gitlab-runner", "gitlab-runner.service" })}, []string{"systemctl stop gitlab-runner.service"}, []string{"kill"}},
		"an app of such a name":     {[]check.Holder{holder(func(h *check.Holder) { h.Unit = "ssh-tunnel.service" })}, []string{"systemctl stop ssh-tunnel.service"}, []string{"kill"}},
		"a job of a runner":         {[]check.Holder{holder(func(h *check.Holder) { h.Unit = "actions.runner.org-shop.vm1.service" })}, []string{"kill 4711"}, []string{"systemctl"}},
		"sshd":                      {[]check.Holder{holder(func(h *check.Holder) { h.Process, h.Unit = "sshd", "ssh.service" })}, []string{"systemctl stop ssh.service"}, []string{"kill"}},
		"what a login has started":  {[]check.Holder{holder(func(h *check.Holder) { h.Unit = "sshd.service" })}, []string{"kill 4711"}, []string{"systemctl"}},
		"no name":                   {[]check.Holder{holder(func(h *check.Holder) { h.Process, h.Executable = "", "" })}, []string{"stop its process: `kill 4711`"}, []string{"owner"}},
		"a unit of a user's":        {[]check.Holder{holder(func(h *check.Holder) { h.Unit, h.User = "user@1000.service/shop.service", "ann" })}, []string{"as user ann, stop its service: `systemctl --user stop shop.service`", "owner: {unit: user@1000.service/shop.service}"}, []string{"kill"}},
		"a file of its own":         {[]check.Holder{holder(func(h *check.Holder) { h.OwnFile = true })}, []string{"kill 4711"}, []string{"owner"}},
		"pid 1 without a name":      {[]check.Holder{{PID: 1, State: "listen"}}, []string{"list-sockets"}, []string{"kill"}},
		"YAML word":                 {[]check.Holder{holder(func(h *check.Holder) { h.Process, h.Executable = "yes", "/usr/bin/yes" })}, []string{`{process: "yes"}`}, nil},
		"connection":                {[]check.Holder{holder(func(h *check.Holder) { h.State = "connected" })}, []string{"wait: 30s", "kill 4711"}, nil},
	} {
		got := strings.Join(texts(taken(check.InUse, "x", c.holders...)), "\n")
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
		if got := texts(taken(check.InUse, "x", c.holders...))[0]; !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s\nlacks %s", name, got, c.want)
		}
	}
}

// A pid or a unit of another machine must not be stopped on this one.
func TestRemedyNamesTheTarget(t *testing.T) {
	r := taken(check.InUse, "x", python())
	r.Target = "app1"
	if got := texts(r); !strings.HasPrefix(got[0], "on app1: stop python3") {
		t.Errorf("%q", got)
	}
}

func TestRemedyForAFlagNamesFlags(t *testing.T) {
	for _, s := range check.Statuses {
		r := taken(s, "x", python())
		r.Source, r.Asked, r.Alternatives, r.From = config.Position{File: "--port"}, 3, nil, nil
		all := strings.Join(texts(r), "\n")
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
	low := texts(r)[0]
	r.Port = 1023
	if got := texts(r)[0]; !strings.Contains(got, "ip_unprivileged_port_start=1023") {
		t.Errorf("port 1023: %s", got)
	}
	r.Port = 1024
	high := texts(r)[0]
	if !strings.Contains(low, "CAP_NET_BIND_SERVICE") || !strings.Contains(low, "net.ipv4.ip_unprivileged_port_start=80") {
		t.Errorf("port 80: %s", low)
	}
	if !strings.Contains(high, "a security policy") || !strings.Contains(high, "sysctl net.ipv4.ip_unprivileged_port_start") {
		t.Errorf("port 1024: %s", high)
	}
}

// What the system's own limit is decides, not the usual one.
func TestRemedyForDeniedWithAnotherLimit(t *testing.T) {
	for _, c := range []struct {
		port  uint16
		limit int
		want  string
	}{
		{8080, 20000, "CAP_NET_BIND_SERVICE"},
		{8080, 8080, "ports from 8080 up (`sysctl net.ipv4.ip_unprivileged_port_start`) need no privilege here, so a security policy denies the bind"},
		{80, 0, "a security policy denies the bind"},
		{80, 81, "net.ipv4.ip_unprivileged_port_start=80"},
	} {
		r := need(check.Denied, "x")
		r.Port, r.UnprivilegedFrom = c.port, &c.limit
		if got := texts(r)[0]; !strings.Contains(got, c.want) || strings.Contains(got, "security policy") == strings.Contains(got, "CAP_NET_BIND_SERVICE") {
			t.Errorf("port %d where privileged ports end at %d: %s", c.port, c.limit, got)
		}
	}
}

// Only letters, digits and a few marks are one word to every shell.
func TestRemedyKeepsOddNamesOutOfCommands(t *testing.T) {
	for c := rune(1); c < 0x250; c++ {
		h := check.Holder{PID: 7, Process: "app", Unit: "a" + string(c) + "b.service"}
		word := strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@:._-", c)
		if got := texts(taken(check.InUse, "x", h))[0]; strings.Contains(got, "systemctl") != word {
			t.Errorf("a unit with %q: %s", c, got)
		}
	}
}

func TestRemedyHasThePortThatIsTaken(t *testing.T) {
	r := taken(check.InUse, "x", unseen())
	r.Port, r.PortLast, r.Protocol, r.Holders[0].Port = 8000, 8003, port.UDP, 8002
	if got := texts(r); !strings.Contains(got[0], "ss -ulnp sport = :8002") {
		t.Errorf("%q", got)
	}
}

func TestRemediesOfADuplicate(t *testing.T) {
	r := need(check.Free, "tcp 8080 is free")
	r.Notices = []check.Notice{notices[config.Duplicate]}
	if got := texts(r); len(got) != 1 || !strings.Contains(got[0], "another port") {
		t.Errorf("%q", got)
	}
	r.Status = check.InUse
	if got := texts(r); len(got) != 2 || !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "check again") }) {
		t.Errorf("in use as well: %q", got)
	}
}

// A filter of system calls is no matter of rights.
func TestRemedyForFilteredFamily(t *testing.T) {
	for address, want := range map[string]string{"::1": "may not make IPv6 sockets (%s): add AF_INET6 to", "127.0.0.1": "may not make IPv4 sockets (%s): add AF_INET to"} {
		for _, errno := range []string{"EAFNOSUPPORT", "EPERM", "EACCES"} {
			want := fmt.Sprintf(want, errno)
			r := need(check.Unknown, "x")
			r.Endpoints = []check.Endpoint{{Address: address, Port: 8080, Outcome: "failed", Op: "socket", Errno: errno}}
			if got := strings.Join(texts(r), "\n"); !strings.Contains(got, want) || strings.Contains(got, "as root") || !strings.Contains(got, "--allow-unknown") {
				t.Errorf("%s: %s", address, got)
			}
		}
	}
}

// The limit of open files is the same for root. Root may read more of the socket table.
func TestRemedyForTooManyFiles(t *testing.T) {
	table := need(check.Unknown, "x")
	table.TableErrno = "EPERM"
	if got := strings.Join(texts(table), "\n"); !strings.Contains(got, "run portcheck as root") {
		t.Error(got)
	}
	for errno, want := range map[string]string{"EMFILE": "ulimit -n", "WSAEMFILE": "ran out of sockets", "ENFILE": "sysctl fs.file-max"} {
		r := need(check.Unknown, "x")
		r.Endpoints = []check.Endpoint{{Address: "::", Port: 8080, Outcome: "failed", Op: "socket", Errno: errno}}
		table := need(check.Unknown, "x")
		table.TableErrno = errno
		got := strings.Join(texts(r), "\n")
		if byTable := strings.Join(texts(table), "\n"); byTable != got {
			t.Errorf("%s of the socket table: %s, want %s", errno, byTable, got)
		}
		if !strings.Contains(got, want) || strings.Contains(got, "run portcheck as root") || !strings.Contains(got, "--allow-unknown") {
			t.Errorf("%s: %s", errno, got)
		}
	}
}

func TestRemedyForUnknown(t *testing.T) {
	unprobed, tableOnly, leases := need(check.Unknown, "x"), need(check.Unknown, "x"), need(check.Unknown, "x")
	leases.LeasesUnknown = true
	unprobed.Method = check.None
	tableOnly.TableOnly = true
	noTime := results()["unreachable"]
	noTime.Status, noTime.Endpoints[0].Errno = check.Unknown, "--timeout leaves too little time"
	for want, r := range map[string]check.Result{"nothing was probed": unprobed, "let portcheck find out which ports other jobs have leased: the message says": leases, "let portcheck run on the target": tableOnly, "allow more time with `--timeout`": noTime} {
		if got := strings.Join(texts(r), "\n"); !strings.HasPrefix(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
	r := taken(check.InUse, "x", unseen())
	r.TableOnly = true
	if got := texts(r)[0]; strings.Contains(got, "root") || !strings.Contains(got, "`sudo ss -tlnp sport = :8080` there") {
		t.Errorf("in use by the table alone: %s", got)
	}
}

func TestRemedyForSocketsThatAreNotListed(t *testing.T) {
	r := taken(check.InUse, "x")
	r.Holders, r.Unlisted = nil, true
	if got := hints(r)[0].Text; strings.Contains(got, "root") || strings.Contains(got, "ss -") || !strings.Contains(got, "`sudo lsof -nP | grep 'protocol: TCP'`") {
		t.Errorf("%s: no table shows the holder, whoever asks", got)
	}
}

// A server that restarts is found by another check, and a socket that nobody has in the
// queue of a unix socket.
func TestRemedyForAHolderThatHasEnded(t *testing.T) {
	root := 0
	for _, uid := range []*int{nil, &root} {
		r := taken(check.InUse, "x", unseen())
		r.OS, r.UID, r.Ended = "linux", uid, true
		if got := hints(r)[0]; !strings.HasPrefix(got.Text, "check again: what held it may have ended, as a server that restarts does; if this stays so, it was sent through a unix socket and nobody has taken it yet") || got.Command != "sudo grep -s 'scm_fds:.*[1-9]' /proc/[0-9]*/fdinfo/*" {
			t.Errorf("uid %v: %+v", uid, got)
		}
		r.Ended = false
		if got := hints(r)[0]; strings.Contains(got.Text, "check again") {
			t.Errorf("uid %v: %+v", uid, got)
		}
	}
}

func TestRemedyForUnreachable(t *testing.T) {
	r := results()["unreachable"]
	for errno, want := range map[string]string{"ECONNREFUSED": "start the service on db.internal", "WSAECONNREFUSED": "start the service on db.internal", "ETIMEDOUT": "no firewall is in between"} {
		r.Endpoints[0].Errno = errno
		if got := texts(r)[0]; !strings.Contains(got, want) || !strings.Contains(got, "`wait: 30s`") {
			t.Errorf("%s: %s, want %s", errno, got, want)
		}
	}
}

// A hint for owner is YAML that means the name, whatever the name is.
func TestOwnerHintIsYAML(t *testing.T) {
	for _, name := range []string{"yes", "null", "False", "server", "postgres", "a:b-long", "1234567", "0x1234", "_start_", "Nginx-x", "zebra12", "1e10000"} {
		h := check.Holder{PID: 7, Process: name, Executable: "/usr/bin/" + name}
		_, hint, ok := strings.Cut(texts(taken(check.InUse, "x", h))[1], "`owner: ")
		var owner map[string]any
		if err := yaml.Unmarshal([]byte(strings.TrimSuffix(hint, "`")), &owner); !ok || err != nil || owner["process"] != name {
			t.Errorf("%s: %s is %v, %v", name, hint, owner, err)
		}
	}
}

func TestRemedyForWhatEndsByItself(t *testing.T) {
	in := func(states ...string) check.Result {
		r := taken(check.InUse, "x")
		for _, s := range states {
			r.Holders = append(r.Holders, check.Holder{Port: 8080, State: strings.TrimPrefix(s, "orphan "), PID: 7, Process: "app"})
			if s == "time-wait" || s == "orphan closing" {
				r.Holders[len(r.Holders)-1].PID = 0
			}
		}
		return r
	}
	for want, r := range map[string]check.Result{
		"wait: the system releases":        in("time-wait", "orphan closing"),
		"wait until the connection ends (": in("time-wait", "connected"),
		"wait until the connection ends":   in("time-wait", "closing"), // its process has not closed it
		"stop app: `kill 7`":               in("time-wait", "listen"),
		"check again: no table":            in(),
	} {
		if got := texts(r)[0]; !strings.HasPrefix(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
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
		got := strings.Join(texts(r), "\n")
		if !strings.Contains(got, c.want) || strings.Contains(got, c.not) {
			t.Errorf("%s, %s: %q", c.address, c.outcome, got)
		}
	}
}

// A container that only its user's conmon names is suggested as an owner together with the
// user: without that the owner would be unknown.
func TestOwnerIsAUsersWord(t *testing.T) {
	zero, uid := 0, 1000
	c := func(nameOnly bool) *check.Container {
		return &check.Container{Name: "web", Engine: "podman", NameOnly: nameOnly}
	}
	for name, test := range map[string]struct {
		holder check.Holder
		want   config.Owner
	}{
		"root's":            {check.Holder{UID: &zero, User: "root", Container: c(true)}, config.Owner{Container: "web"}},
		"the engine's word": {check.Holder{UID: &uid, User: "deploy", Container: c(false)}, config.Owner{Container: "web"}},
		"a user's":          {check.Holder{UID: &uid, User: "deploy", Container: c(true)}, config.Owner{Container: "web", User: "deploy"}},
		"of no name":        {check.Holder{UID: &uid, Container: c(true)}, config.Owner{}},
	} {
		if got := OwnerOf(test.holder); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}
