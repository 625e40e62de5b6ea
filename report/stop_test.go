package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

// A remedy never ends a program on which others depend, and has the command that fits
// the holder, the engine, the user and the system.
func TestRemedyOfWhatActsForOthers(t *testing.T) {
	uid := 1000
	process := func(change func(*check.Holder)) []check.Holder {
		h := check.Holder{Address: "::", Port: 8080, State: "listen", PID: 4711, Process: "app", Executable: "/opt/app"}
		change(&h)
		return []check.Holder{h}
	}
	forwarder := func(name, client, engine string) func(*check.Holder) {
		return func(h *check.Holder) {
			h.Process, h.Unit = name, name+".service"
			h.Forwarder = &check.Forwarder{Name: name, For: client, Engine: engine}
		}
	}
	inContainer := func(engine, socket string) func(*check.Holder) {
		return func(h *check.Holder) {
			h.Container = &check.Container{ID: strings.Repeat("0", 64), Name: "web", Engine: engine, Socket: socket}
		}
	}
	and := func(all ...func(*check.Holder)) func(*check.Holder) {
		return func(h *check.Holder) {
			for _, change := range all {
				change(h)
			}
		}
	}
	inCompose := func(engine, service string) func(*check.Holder) {
		return func(h *check.Holder) {
			inContainer(engine, "")(h)
			h.Container.Compose = service
		}
	}
	startedBy := func(unit string) func(*check.Holder) {
		return func(h *check.Holder) { h.Container.Unit = unit }
	}
	byConmon := func(unit string) func(*check.Holder) {
		return func(h *check.Holder) { h.Container.NameOnly, h.Container.MonitorUnit = true, unit }
	}
	ofUser := func(h *check.Holder) { h.UID, h.User = &uid, "ann" }
	own := func(h *check.Holder) { h.Forwarder.Own = true }
	for name, c := range map[string]struct {
		holders []check.Holder
		want    string
		command string
	}{
		"podman, by a unit":             {process(and(forwarder("conmon", "containers", "podman"), inContainer("podman", ""), startedBy("web.service"))), "stop its container's service: `systemctl stop web.service`", "systemctl stop web.service"},
		"podman, by a unit of a user":   {process(and(forwarder("pasta", "containers", ""), inContainer("podman", "unix:///run/user/1000/podman/podman.sock"), startedBy("user@1000.service/web.service"), ofUser)), "as user ann, stop its container's service: `systemctl --user stop web.service`", "systemctl --user stop web.service"},
		"a user of the container":       {process(and(inContainer("podman", ""), startedBy("user@1000.service/web.service"), func(h *check.Holder) { other := 100033; h.UID = &other })), "as uid 1000, stop", "systemctl --user stop web.service"},
		"podman, by a unit of no word":  {process(and(inContainer("podman", ""), startedBy("$(reboot).service"))), "stop its container: `podman stop web`", "podman stop web"},
		"podman, by a login":            {process(and(inContainer("podman", ""), startedBy("session-1.scope"))), "stop its container: `podman stop web`", "podman stop web"},
		"podman, from cron":             {process(and(inContainer("podman", ""), startedBy("cron.service"))), "stop its container: `podman stop web`", "podman stop web"},
		"pasta in a unit":               {process(and(forwarder("pasta", "containers", ""), ofUser, func(h *check.Holder) { h.Unit = "user@1000.service/web.service" })), "stop that one; but if web.service has started it, stop that unit", ""},
		"conmon in a unit":              {process(and(forwarder("pasta", "containers", ""), inContainer("podman", ""), byConmon("user@1000.service/web.service"), ofUser)), "as user ann, stop its container: `podman stop web`; but if web.service has started it, stop that unit", "podman stop web"},
		"a pod of podman":               {process(and(inContainer("podman", "unix:///run/user/1000/podman/podman.sock"), ofUser, func(h *check.Holder) { h.Container.Name = "64c1fa49f8ec-infra" })), "stop 64c1fa49f8ec-infra`; it keeps the network of its pod, so `podman --url unix:///run/user/1000/podman/podman.sock pod stop 64c1fa49f8ec` stops the others, too\x00", "podman --url unix:///run/user/1000/podman/podman.sock stop 64c1fa49f8ec-infra"},
		"no pod of podman":              {process(and(inContainer("podman", ""), func(h *check.Holder) { h.Container.Name = "web-infra" })), "`podman stop web-infra`\x00", "podman stop web-infra"},
		"no pod of docker":              {process(and(inContainer("docker", ""), func(h *check.Holder) { h.Container.Name = "64c1fa49f8ec-infra" })), "`docker stop 64c1fa49f8ec-infra`\x00", "docker stop 64c1fa49f8ec-infra"},
		"conmon in no unit":             {process(and(forwarder("pasta", "containers", ""), inContainer("podman", ""), byConmon("user@1000.service"), ofUser)), "as user ann, stop its container: `podman stop web`\x00", "podman stop web"},
		"pasta alone in a unit":         {process(and(forwarder("pasta", "containers", ""), inContainer("podman", ""), byConmon("user@1000.service"), ofUser, func(h *check.Holder) { h.Unit = "user@1000.service/web.service" })), "`podman stop web`; but if web.service has started it, stop that unit", "podman stop web"},
		"pasta in the engine's unit":    {process(and(forwarder("pasta", "containers", ""), ofUser, func(h *check.Holder) { h.Unit = "user@1000.service/podman.service" })), "and stop that one\x00", ""},
		"docker":                        {process(inContainer("docker", "")), "stop its container: `docker stop web`", "docker stop web"},
		"Compose":                       {process(inCompose("docker", "shop/web")), "stop its Compose service: `docker compose -p shop stop web`", "docker compose -p shop stop web"},
		"Compose of podman":             {process(inCompose("podman", "shop/web")), "stop its container: `podman stop web`", "podman stop web"},
		"an odd service of Compose":     {process(inCompose("docker", "shop/$(reboot)")), "stop its container: `docker stop web`", "docker stop web"},
		"an odd project of Compose":     {process(inCompose("docker", "-f/web")), "stop its container: `docker stop web`", "docker stop web"},
		"podman":                        {process(inContainer("podman", "")), "stop its container: `podman stop web`", "podman stop web"},
		"containerd":                    {process(inContainer("containerd", "")), "stop its container: `nerdctl stop web`", "nerdctl stop web"},
		"cri-o":                         {process(inContainer("cri-o", "")), "stop its container: `crictl stop web`", "crictl stop web"},
		"an engine that is not known":   {process(func(h *check.Holder) { h.Container = &check.Container{ID: strings.Repeat("0", 64)} }), "stop container 000000000000 with its own engine, which is not known: try `docker inspect 000000000000`, then the same with podman, nerdctl and crictl, or look for its name in /proc/4711/cgroup", ""},
		"not known, with a name":        {process(inContainer("", "")), "stop container 000000000000 with its own engine, which is not known", ""},
		"an engine of another kind":     {process(inContainer("lxc", "")), "stop container 000000000000 with its own engine, which is not known", ""},
		"not known, in Compose":         {process(inCompose("", "shop/web")), "stop container 000000000000 with its own engine, which is not known", ""},
		"kubernetes":                    {process(inContainer("kubernetes", "")), "its pod is one of Kubernetes", ""},
		"docker without root":           {process(inContainer("docker", "unix:///run/user/1000/docker.sock")), "stop its container", "docker -H unix:///run/user/1000/docker.sock stop web"},
		"podman without root":           {process(inContainer("podman", "unix:///run/user/1000/podman/podman.sock")), "stop its container", "podman --url unix:///run/user/1000/podman/podman.sock stop web"},
		"an odd socket":                 {process(inContainer("podman", "unix:///run/$(reboot)/x")), "stop its container", "podman stop web"},
		"Compose behind rootlesskit":    {process(and(forwarder("rootlesskit", "containers", ""), inCompose("docker", "shop/web"), ofUser)), "as user ann, stop its Compose service: `docker compose -p shop stop web`", "docker compose -p shop stop web"},
		"rootlessport":                  {process(and(forwarder("rootlessport", "containers", "podman"), inContainer("podman", ""), ofUser)), "as user ann, stop its container: `podman stop web`", "podman stop web"},
		"rootlessport, unknown":         {process(and(forwarder("rootlessport", "containers", "podman"), ofUser)), "as user ann, `podman ps", ""},
		"rootlesskit, unknown":          {process(and(forwarder("rootlesskit", "containers", ""), ofUser)), "as user ann, ask the engine", ""},
		"docker-proxy, unknown":         {process(forwarder("docker-proxy", "containers", "docker")), "`docker ps --filter publish=8080/tcp`", ""},
		"dockerd itself":                {process(and(forwarder("dockerd", "containers", "docker"), own)), "dockerd has this port for itself", ""},
		"containerd itself":             {process(and(forwarder("containerd", "containers", ""), own)), "containerd has this port for itself", ""},
		"inetd":                         {process(forwarder("inetd", "services", "")), "take the line of port 8080 out", ""},
		"systemd, unknown":              {process(and(forwarder("systemd", "units", ""), func(h *check.Holder) { h.PID, h.Unit = 1, "init.scope" })), "which one is not known: `systemctl list-sockets`", ""},
		"a user's systemd, unknown":     {process(and(forwarder("systemd", "units", ""), ofUser, func(h *check.Holder) { h.Unit = "user@1000.service/init.scope" })), "which one is not known: as user ann, `systemctl --user list-sockets` names it; stop that one", ""},
		"a user's systemd, no unit":     {process(and(forwarder("systemd", "units", ""), ofUser, func(h *check.Holder) { h.Unit = "" })), "one of its socket units: as user ann, `systemctl --user list-sockets` names it", ""},
		"a systemd in a container":      {process(and(forwarder("systemd", "units", ""), ofUser, func(h *check.Holder) { h.Unit, h.Container = "user@1000.service/a.scope", &check.Container{ID: "$(x)"} })), "which one is not known: `systemctl list-sockets`", ""},
		"a socket unit":                 {process(and(forwarder("systemd", "units", ""), func(h *check.Holder) { h.PID, h.Unit = 1, "shop.socket" })), "stop its socket unit: `systemctl stop shop.socket`", "systemctl stop shop.socket"},
		"a socket unit of a user":       {process(and(forwarder("systemd", "units", ""), ofUser, func(h *check.Holder) { h.Unit = "user@1000.service/shop.socket" })), "as user ann, stop its socket unit", "systemctl --user stop shop.socket"},
		"a container of no word":        {process(and(forwarder("docker-proxy", "containers", "docker"), func(h *check.Holder) { h.Container = &check.Container{ID: "$(x)", Name: "`x`"} })), "stop the container that it holds the port for", ""},
		"an engine's allocation":        {[]check.Holder{{Port: 8080, State: "listen", Container: &check.Container{ID: strings.Repeat("0", 64), Name: "web", Engine: "docker"}}}, "stop its container: `docker stop web`", "docker stop web"},
		"the kernel":                    {[]check.Holder{{Port: 8080, State: "listen", Kernel: true}}, "the kernel itself holds it", ""},
		"two units":                     {append(process(func(h *check.Holder) { h.Unit = "a.socket" }), process(func(h *check.Holder) { h.Unit = "a.service" })...), "stop its units: `systemctl stop a.socket a.service`", "systemctl stop a.socket a.service"},
		"a socket and a service of two": {append(process(inContainer("docker", "")), process(func(h *check.Holder) { h.PID = 9 })...), "`docker stop web`; then stop app: `kill 9`", "docker stop web"},
	} {
		r := taken(check.InUse, "x", c.holders...)
		got := hints(r)
		if !strings.Contains(got[0].Text+"\x00", c.want) || got[0].Command != c.command {
			t.Errorf("%s: %+v, want %s and %q", name, got[0], c.want, c.command)
		}
		for _, h := range got {
			if c.holders[0].Forwarder != nil && (strings.Contains(h.Text, "kill") || strings.Contains(h.Text, "{process: ") || strings.Contains(h.Text, ".service`") && !strings.Contains(c.want, ".service`")) {
				t.Errorf("%s: %s", name, h.Text)
			}
		}
	}
}

func TestRemedyOfTheSystem(t *testing.T) {
	held := taken(check.InUse, "x", python())
	held.OS = "windows"
	if got := hints(held)[0]; got.Command != "taskkill /PID 4711" {
		t.Errorf("%+v", got)
	}
	held.Holders = append(held.Holders, held.Holders[0])
	held.Holders[1].PID = 4712
	if got := hints(held)[0]; got.Command != "taskkill /PID 4711 /PID 4712" {
		t.Errorf("%+v", got)
	}
	held.Holders[0].PID = 4
	if got := hints(held)[0]; strings.Contains(got.Text, "/PID 4 ") || !strings.Contains(got.Text, "the system itself") {
		t.Errorf("%+v", got)
	}
	for os, want := range map[string]string{"linux": "sudo ss -tlnp", "darwin": "sudo lsof -nP -iTCP:8080", "windows": "netstat -ano", "freebsd": "sudo sockstat -l -p 8080"} {
		r := taken(check.InUse, "x", unseen())
		r.OS = os
		if got := hints(r)[0]; !strings.Contains(got.Text, want) || !strings.HasPrefix(got.Command, want) {
			t.Errorf("%s: %+v", os, got)
		}
	}
}

// Root is not told to become root.
func TestRemedyForRoot(t *testing.T) {
	root := 0
	for _, r := range []check.Result{taken(check.InUse, "x", unseen()), need(check.Unknown, "x")} {
		if got := hints(r)[0].Text; !strings.Contains(got, "run portcheck as root") {
			t.Errorf("another user: %s", got)
		}
		for _, uid := range []*int{&root, nil} {
			r.UID = uid
			if got := hints(r)[0].Text; strings.Contains(got, "run portcheck as root") {
				t.Errorf("uid %v: %s", uid, got)
			}
		}
	}
}

// However many processes hold a port, a remedy names a few dozen, in one command.
func TestRemedyIsBounded(t *testing.T) {
	var holders []check.Holder
	for i := range 5000 {
		holders = append(holders, check.Holder{Port: 8080, State: "listen", PID: 10 + i, Process: "app", Origin: &check.Origin{Master: 5}})
	}
	r := taken(check.InUse, "x", holders...)
	if got := hints(r)[0]; got.Command != "kill 5" {
		t.Errorf("workers: %+v", got)
	}
	for i := range r.Holders {
		r.Holders[i].Stopped = true
	}
	if got := hints(r)[0]; len(strings.Fields(got.Command)) != 3+mostWords+3 || !strings.HasSuffix(got.Command, " && kill 5") || !strings.Contains(got.Text, fmt.Sprintf("`; then continue the others that are stopped (%d), which the JSON report lists", mostHolders-mostWords)) {
		t.Errorf("stopped workers: %+v", got)
	}
	for i := range r.Holders {
		r.Holders[i].Origin, r.Holders[i].Stopped = nil, false
	}
	got := hints(r)[0]
	if words := strings.Fields(got.Command); len(words) != 1+mostWords || !strings.Contains(got.Text, fmt.Sprintf("stop the others (%d), which the JSON report lists", 5000-mostWords)) {
		t.Errorf("%+v", got)
	}
}

// What root has no right to is not advised as root.
func TestRemedyWhereRootHasNoRights(t *testing.T) {
	root, user := 0, 1000
	for _, uid := range []*int{&root, &user} {
		for name, c := range map[string]struct {
			set  func(*check.Result)
			want string
		}{
			"a container of an engine": {func(r *check.Result) { r.Confined, r.Withheld = true, true }, "start the container with `--user root --cap-add SYS_PTRACE --cap-add DAC_READ_SEARCH --security-opt apparmor=unconfined` (a pod with the like in its `securityContext`)"},
			"elsewhere":                {func(r *check.Result) { r.Withheld = true }, "start portcheck as root with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, which root does not have here"},
		} {
			inUse := taken(check.InUse, "tcp 8080 is in use by a process that can't be seen", unseen())
			unknown := taken(check.Unknown, "tcp 8080 is in use, but whether by its owner could not be determined", unseen())
			for _, r := range []check.Result{inUse, unknown} {
				r.OS, r.UID, r.Method = "linux", uid, check.BindTable
				c.set(&r)
				if got := hints(r)[0].Text; !strings.Contains(got, c.want) || strings.Contains(got, "run portcheck as root") {
					t.Errorf("%s, uid %d, %s: %s", name, *uid, r.Status, got)
				}
			}
		}
	}
}

// A remedy ends all holders that are known, in one line, and does not claim that these
// are all.
func TestRemedyOfSeveralProcesses(t *testing.T) {
	process := func(pid int, o check.Origin) check.Holder {
		return check.Holder{Port: 8080, State: "listen", PID: pid, Process: "app", Origin: &o}
	}
	suspended := process(11, check.Origin{Master: 12, LeavesCopies: true})
	suspended.Stopped = true
	stopped := func(h check.Holder) check.Holder {
		h.Stopped = true
		return h
	}
	ignoring := func(h check.Holder) check.Holder {
		h.IgnoresTerm = true
		return h
	}
	ignored := check.Condition{IgnoresTerm: true}
	held := check.Condition{Stopped: true}
	masked := check.Condition{MasksTerm: true}
	traced := check.Condition{TraceStopped: true, Tracer: 77}
	unknown := check.Condition{TraceStopped: true}
	in := func(c check.Condition, h check.Holder) check.Holder {
		h.Condition = c
		return h
	}
	const itself, them = " by its own means, or end it at once, since it ignores SIGTERM: ", " by their own means, or end them at once, since they ignore SIGTERM: "
	for name, c := range map[string]struct {
		holders []check.Holder
		want    string
	}{
		"one that ignores SIGTERM":        {[]check.Holder{ignoring(process(10, check.Origin{}))}, "stop app" + itself + "`kill -KILL 10`"},
		"a suspended one that ignores it": {[]check.Holder{ignoring(stopped(process(10, check.Origin{})))}, "stop app" + itself + "`kill -KILL 10`"},
		"one of a script that ignores it": {[]check.Holder{ignoring(process(10, check.Origin{Shell: "sh", ShellPID: 5}))}, "stop app" + itself + "`kill -KILL 10`; if sh (pid 5), which has started it, starts another one: `kill 5`, then check again"},
		"a master that ignores it":        {[]check.Holder{ignoring(process(10, check.Origin{})), ignoring(process(11, check.Origin{Master: 10, LeavesCopies: true}))}, "stop app and the others" + them + "`kill -KILL 10 11`"},
		"copies that ignore it":           {[]check.Holder{ignoring(process(10, check.Origin{Master: 5, LeavesCopies: true})), ignoring(stopped(process(11, check.Origin{Master: 5, LeavesCopies: true})))}, "stop the processes of app and the one of which they are copies" + them + "`kill -KILL 5 10 11`"},
		"one copy that ignores it":        {[]check.Holder{ignoring(process(10, check.Origin{Master: 5, LeavesCopies: true}))}, "stop app" + itself + "`kill -KILL 10`; if pid 5, of which it is a copy, starts another one: `kill 5`, then check again"},
		"one copy of one that handles it": {[]check.Holder{ignoring(process(10, check.Origin{Master: 5}))}, "stop app" + itself + "`kill -KILL 10`; if pid 5, of which it is a copy, starts another one: `kill 5`, then check again"},
		"one of two that ignores it":      {[]check.Holder{process(10, check.Origin{}), ignoring(process(11, check.Origin{}))}, "stop app: `kill 10`; then stop app" + itself + "`kill -KILL 11`"},
		"one that blocks SIGTERM":         {[]check.Holder{in(masked, process(10, check.Origin{}))}, "stop app: `kill 10`; if it does not end: `kill -KILL 10`"},
		"two that block SIGTERM":          {[]check.Holder{in(masked, process(10, check.Origin{})), process(11, check.Origin{}), in(masked, process(12, check.Origin{}))}, "stop app and 1 more: `kill 10 12`; if they do not end: `kill -KILL 10 12`; then stop app: `kill 11`"},
		"a suspended one that blocks it":  {[]check.Holder{in(check.Condition{MasksTerm: true, Stopped: true}, process(10, check.Origin{}))}, "stop app, which is suspended and has to be continued first: `kill -CONT 10 && kill 10`; if it does not end: `kill -KILL 10`"},
		"copies of one that blocks it":    {[]check.Holder{in(masked, process(10, check.Origin{Master: 5, LeavesCopies: true, Condition: masked})), in(masked, process(11, check.Origin{Master: 5, LeavesCopies: true, Condition: masked}))}, "stop the processes of app and the one of which they are copies: `kill 5 10 11`; if they do not end: `kill -KILL 5 10 11`"},
		"a script that blocks it":         {[]check.Holder{process(10, check.Origin{Shell: "sh", ShellPID: 5, Condition: masked})}, "stop app: `kill 10`; if sh (pid 5), which has started it, starts another one: `kill 5` or, if it does not end, `kill -KILL 5`, then check again"},
		"a master that ends its copies":   {[]check.Holder{process(10, check.Origin{}), process(11, check.Origin{Master: 10})}, "stop app: `kill 10`"},
		"a master that leaves its copies": {[]check.Holder{process(10, check.Origin{Master: 12, LeavesCopies: true}), process(12, check.Origin{})}, "stop app and 1 more: `kill 12 10`"},
		"a suspended copy":                {[]check.Holder{suspended, process(12, check.Origin{})}, "stop app: `kill 12`; then stop app, which is suspended and has to be continued first: `kill -CONT 11 && kill 11`"},
		"a suspended master":              {[]check.Holder{stopped(process(10, check.Origin{})), stopped(process(11, check.Origin{Master: 10})), process(12, check.Origin{Master: 10})}, "stop app, which is suspended and has to be continued first, with its workers: `kill -CONT 10 11 && kill 10`"},
		"suspended workers":               {[]check.Holder{process(10, check.Origin{}), stopped(process(11, check.Origin{Master: 10})), stopped(process(12, check.Origin{Master: 10}))}, "stop app, whose workers are suspended and have to be continued first: `kill -CONT 10 11 12 && kill 10`"},
		"suspended workers of another":    {[]check.Holder{stopped(process(11, check.Origin{Master: 10})), process(12, check.Origin{Master: 10})}, "stop the master of app, which may start another worker when one ends: `kill -CONT 10 11 && kill 10`, then check again"},
		"workers of another":              {[]check.Holder{process(11, check.Origin{Master: 10}), process(12, check.Origin{Master: 10})}, "stop the master of app, which may start another worker when one ends: `kill 10`, then check again"},
		"suspended ones of a hidden one":  {[]check.Holder{stopped(process(10, check.Origin{Master: 5, MasterUnseen: true}))}, "as root, stop the master of app, which this user can't see and which may start another one when it ends: `sudo kill -CONT 5 10 && sudo kill 5`"},
		"one suspended copy":              {[]check.Holder{stopped(process(10, check.Origin{Master: 5}))}, "stop app, which is suspended and has to be continued first: `kill -CONT 10 && kill 10`; if pid 5, of which it is a copy, starts another one: `kill 5`, then check again"},
		"copies of one that ignores it":   {[]check.Holder{process(10, check.Origin{Master: 5, LeavesCopies: true, Condition: ignored}), process(11, check.Origin{Master: 5, LeavesCopies: true, Condition: ignored})}, "stop the processes of app, and before them at once the one of which they are copies, since it ignores SIGTERM: `kill -KILL 5 && kill 10 11`"},
		"one copy of one that ignores it": {[]check.Holder{process(10, check.Origin{Master: 5, LeavesCopies: true, Condition: ignored})}, "stop app: `kill 10`; if pid 5, of which it is a copy and which ignores SIGTERM, starts another one: `kill -KILL 5`, then check again"},
		"one copy of a suspended one":     {[]check.Holder{process(10, check.Origin{Master: 5, Condition: held})}, "stop app: `kill 10`; if pid 5, of which it is a copy and which is suspended, starts another one: `kill -CONT 5 && kill 5`, then check again"},
		"copies of a suspended one":       {[]check.Holder{process(10, check.Origin{Master: 5, LeavesCopies: true, Condition: held}), process(11, check.Origin{Master: 5, LeavesCopies: true, Condition: held})}, "stop the processes of app and the one of which they are copies, of which some are suspended and have to be continued first: `kill -CONT 5 10 11 && kill 5 10 11`"},
		"suspended copies":                {[]check.Holder{stopped(process(10, check.Origin{Master: 5, LeavesCopies: true})), process(11, check.Origin{Master: 5, LeavesCopies: true})}, "stop the processes of app and the one of which they are copies, of which some are suspended and have to be continued first: `kill -CONT 5 10 11 && kill 5 10 11`"},
		"workers of a suspended one":      {[]check.Holder{process(11, check.Origin{Master: 10, Condition: held}), process(12, check.Origin{Master: 10, Condition: held})}, "stop the master of app, which may start another worker when one ends: `kill -CONT 10 && kill 10`, then check again"},
		"a script that ignores it":        {[]check.Holder{process(10, check.Origin{Shell: "sh", ShellPID: 5, Condition: ignored})}, "stop app: `kill 10`; if sh (pid 5), which has started it and which ignores SIGTERM, starts another one: `kill -KILL 5`, then check again"},
		"a suspended script":              {[]check.Holder{process(10, check.Origin{Shell: "sh", ShellPID: 5, Condition: held})}, "stop app: `kill 10`; if sh (pid 5), which has started it and which is suspended, starts another one: `kill -CONT 5 && kill 5`, then check again"},
		"copies of another server":        {[]check.Holder{process(10, check.Origin{Master: 5, LeavesCopies: true, Serves: "tcp [::]:`x`"}), process(11, check.Origin{Master: 5, LeavesCopies: true, Serves: "tcp [::]:`x`"})}, "stop app and 1 more: `kill 10 11`; if pid 5, of which it is a copy and which serves tcp [::]:'x', too, starts another one: `kill 5`, then check again"},
		"what another server starts":      {[]check.Holder{process(10, check.Origin{Starter: 5, Serves: "tcp [::]:8081"})}, "stop app: `kill 10`; if pid 5, which has started it and which serves tcp [::]:8081, too, starts another one: `kill 5`, then check again"},
		"a traced one":                    {[]check.Holder{in(traced, process(10, check.Origin{}))}, "stop app, which pid 77 traces and has stopped (detach or end that first): `kill 10`"},
		"traced from somewhere else":      {[]check.Holder{in(unknown, process(10, check.Origin{}))}, "stop app, which a tracer has stopped (detach or end that first): `kill 10`"},
		"a traced one that ignores it":    {[]check.Holder{in(check.Condition{TraceStopped: true, IgnoresTerm: true}, process(10, check.Origin{}))}, "stop app" + itself + "`kill -KILL 10`"},
		"a traced script":                 {[]check.Holder{process(10, check.Origin{Shell: "sh", ShellPID: 5, Condition: traced})}, "stop app: `kill 10`; if sh (pid 5), which has started it and which pid 77 traces and has stopped (detach or end that first), starts another one: `kill 5`, then check again"},
		"workers of a blocked one":        {[]check.Holder{process(11, check.Origin{Master: 10, Condition: check.Condition{Blocked: true}}), process(12, check.Origin{Master: 10, Condition: check.Condition{Blocked: true}})}, "stop the master of app, which may start another worker when one ends, and which waits in the kernel and ends only when that returns: `kill 10`, then check again"},
		"two blocked ones":                {[]check.Holder{in(check.Condition{Blocked: true}, process(10, check.Origin{})), in(check.Condition{Blocked: true, IgnoresTerm: true}, process(11, check.Origin{}))}, "stop app, which waits in the kernel and ends only when that returns: `kill 10` once, then check again (SIGKILL ends some such waits at once); then stop app, which waits in the kernel and ends only when that returns: `kill -KILL 11` once, then check again (SIGKILL ends some such waits at once)"},
		"a suspended one of two masters":  {[]check.Holder{process(10, check.Origin{}), stopped(process(11, check.Origin{Master: 10})), process(20, check.Origin{})}, "stop app, whose workers are suspended and have to be continued first: `kill -CONT 10 11 && kill 10`; then stop app: `kill 20`"},
		"a master without a socket":       {[]check.Holder{process(10, check.Origin{Master: 5, LeavesCopies: true}), process(11, check.Origin{Master: 5, LeavesCopies: true})}, "stop the processes of app and the one of which they are copies: `kill 5 10 11`"},
		"a hidden master":                 {[]check.Holder{process(10, check.Origin{Master: 5, MasterUnseen: true}), process(11, check.Origin{Master: 5, MasterUnseen: true})}, "as root, stop the master of app, which this user can't see and which may start another one when it ends: `sudo kill 5`"},
		"one copy":                        {[]check.Holder{process(10, check.Origin{Master: 5, LeavesCopies: true})}, "stop app: `kill 10`; if pid 5, of which it is a copy, starts another one: `kill 5`, then check again"},
		"a cluster":                       {[]check.Holder{process(10, check.Origin{Starter: 5}), process(11, check.Origin{Starter: 5})}, "stop app and 1 more: `kill 10 11`; if pid 5, which has started it, starts another one: `kill 5`, then check again"},
		"a script":                        {[]check.Holder{process(10, check.Origin{Shell: "run\n.sh", ShellPID: 5})}, "stop app: `kill 10`; if run\\n.sh (pid 5), which has started it, starts another one: `kill 5`, then check again"},
		"a suspended one of a script":     {[]check.Holder{stopped(process(10, check.Origin{Shell: "sh", ShellPID: 5}))}, "stop app, which is suspended and has to be continued first: `kill -CONT 10 && kill 10`; if sh (pid 5), which has started it, starts another one: `kill 5`, then check again"},
		"a script with the socket":        {[]check.Holder{process(5, check.Origin{}), process(10, check.Origin{Shell: "sh", ShellPID: 5})}, "stop app and 1 more: `kill 5 10`"},
		"a script that is init":           {[]check.Holder{process(10, check.Origin{Shell: "sh", ShellPID: 1})}, "stop app: `kill 10`"},
		"a starter with the socket":       {[]check.Holder{process(5, check.Origin{}), process(10, check.Origin{Starter: 5})}, "stop app and 1 more: `kill 5 10`"},
	} {
		r := taken(check.InUse, "x", c.holders...)
		for _, unseen := range []bool{false, true} {
			want := c.want
			if r.ForksUnseen = unseen; unseen && !strings.HasPrefix(want, "as root") {
				want += "; other processes may hold it, too"
			}
			if got := hints(r)[0].Text; got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	}
	r := taken(check.InUse, "x", check.Holder{Port: 8080, State: "listen", PID: 10, Process: "app", Unit: "app.service"})
	r.ForksUnseen = true
	if got := hints(r)[0].Text; strings.Contains(got, "other processes") {
		t.Errorf("a unit: %s", got)
	}
}

// Each port of a block that is held is there with its holders.
func TestLinesOfABlock(t *testing.T) {
	r := taken(check.InUse, "x")
	r.Port, r.PortLast = 8000, 8003
	for i := range 5 {
		r.Holders = append(r.Holders, check.Holder{Address: "::", Port: uint16(8000 + i%4), State: "listen", PID: 11 + i, Process: fmt.Sprint("p", i)})
	}
	r.Holders = append(r.Holders, r.Holders[0])
	text := inAllFormats(t, reportOf(r), Options{})["text"]
	for _, want := range []string{"\n    port 8000: p0 (pid 11), p4 (pid 15); port 8001: p1 (pid 12); port 8002: p2 (pid 13); port 8003: p3 (pid 14); ", "`kill 11 12 13 14 15`"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\nlacks %s", text, want)
		}
	}
	if got := strings.Count(text, "port 8000"); got != 1 {
		t.Errorf("port 8000 has %d lines", got)
	}
	for held, want := range map[int]string{4: "\n    stop app: `kill 11`", 3: "\n    held ports of the block: 8000-8002; stop app: `kill 11`", 1: "\n    stop app: `kill 11`"} {
		r.Holders = nil
		for i := range held {
			r.Holders = append(r.Holders, check.Holder{Address: "::", Port: uint16(8000 + i), State: "listen", PID: 11, Process: "app"})
		}
		if text := inAllFormats(t, reportOf(r), Options{})["text"]; !strings.Contains(text, want) {
			t.Errorf("%d ports of one process: no %q in\n%s", held, want, text)
		}
	}
	// The message names the ports of the only holder.
	r.Message = "tcp 8000-8003: tcp [::]:8000, tcp [::]:8001 are in use by app (pid 11)"
	r.Holders = []check.Holder{{Port: 8000, State: "listen", PID: 11, Process: "app"}, {Port: 8001, State: "listen", PID: 11, Process: "app"}}
	if text := inAllFormats(t, reportOf(r), Options{})["text"]; strings.Count(text, "pid 11") != 1 || !strings.Contains(text, "\n    stop app: `kill 11`") {
		t.Errorf("a message with all ports:\n%s", text)
	}
}

func TestAge(t *testing.T) {
	for minutes, want := range map[int32]string{0: "", 1: "1 minute", 59: "59 minutes", 60: "1 hour", 119: "1 hour", 1439: "23 hours", 1440: "1 day", 3 * 1440: "3 days"} {
		if got := ageText(minutes); got != want {
			t.Errorf("%d: %q, want %q", minutes, got, want)
		}
	}
	h := nginx()
	h.Minutes = 3 * 24 * 60
	if got := hints(taken(check.InUse, "x", h))[0].Text; !strings.HasPrefix(got, "nginx has run since 2026-01-02 03:04:05 UTC (3 days); stop") {
		t.Error(got)
	}
}

// An IPv6 address is readable in every format.
func TestIPv6Addresses(t *testing.T) {
	remote := results()["unreachable"]
	remote.Remote = "::1"
	local := need(check.Unavailable, "x")
	local.Address = []port.Address{"::1"}
	local.Endpoints = []check.Endpoint{{Address: "::1", Port: 8080, Outcome: "no-address"}}
	for _, r := range []check.Result{remote, local} {
		for _, o := range []Options{{}, {Width: 100}} {
			for format, text := range inAllFormats(t, reportOf(r), o) {
				if strings.Contains(text, `\x3a1`) {
					t.Errorf("%s:\n%s", format, text)
				}
			}
		}
	}
}

// Of what the owner shares with another holder, nothing is stopped.
func TestRemedyBesideTheOwner(t *testing.T) {
	other := func(change func(own, h *check.Holder)) []check.Holder {
		own := check.Holder{Address: "127.0.0.1", Port: 8080, State: "listen", PID: 4711, Process: "app", Executable: "/opt/app", Owner: true}
		h := check.Holder{Address: "127.0.0.2", Port: 8080, State: "listen", PID: 4712, Process: "perl", Executable: "/usr/bin/perl"}
		change(&own, &h)
		return []check.Holder{own, h}
	}
	const together = "let `owner` match perl (pid 4712) as well: it can't be ended without the owner"
	for name, c := range map[string]struct {
		holders []check.Holder
		want    string
	}{
		"nothing in common":           {other(func(own, h *check.Holder) { own.Unit, h.Unit = "app.service", "perl.service" }), "stop its service: `systemctl stop perl.service`"},
		"the unit":                    {other(func(own, h *check.Holder) { own.Unit, h.Unit = "app.service", "app.service" }), "stop perl: `kill 4712`"},
		"an owner that is not proven": {other(func(own, h *check.Holder) { own.Owner, own.MayBeOwner = false, true }), "stop perl: `kill 4712`"},
		"the container": {other(func(own, h *check.Holder) {
			own.Container = &check.Container{ID: "0123", Name: "web", Engine: "docker"}
			h.Container = own.Container
		}), "stop perl: `kill 4712`"},
		"the Compose service": {other(func(own, h *check.Holder) {
			own.Container = &check.Container{ID: "0123", Name: "web-1", Compose: "shop/web", Engine: "docker"}
			h.Container = &check.Container{ID: "4567", Name: "web-2", Compose: "shop/web", Engine: "docker"}
		}), "stop its container: `docker stop web-2`"},
		"the unit of the container": {other(func(own, h *check.Holder) {
			own.Container = &check.Container{ID: "0123", Name: "web-1", Unit: "pod.service", Engine: "podman"}
			h.Container = &check.Container{ID: "4567", Name: "web-2", Unit: "pod.service", Engine: "podman"}
		}), "stop its container: `podman stop web-2`"},
		"it is the owner's copy":     {other(func(_, h *check.Holder) { h.Origin = &check.Origin{Master: 4711} }), together},
		"it is the owner's master":   {other(func(own, _ *check.Holder) { own.Origin = &check.Origin{Master: 4712} }), together},
		"the master":                 {other(func(own, h *check.Holder) { own.Origin = &check.Origin{Master: 9}; h.Origin = own.Origin }), together},
		"the process, by one socket": {other(func(own, h *check.Holder) { own.PID = 4712 }), together},
	} {
		for _, status := range []check.Status{check.InUse, check.Shadowed, check.WrongOwner} {
			if got := texts(taken(status, "x", c.holders...))[0]; !strings.HasPrefix(got, c.want) || strings.Contains(got, "4711") {
				t.Errorf("%s, %s: %s, want %s", status, name, got, c.want)
			}
		}
	}
}
