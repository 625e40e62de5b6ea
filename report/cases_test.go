package report

import (
	"fmt"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// cases returns reports by the name of their golden file. Each status and each
// notice code has a case with its name.
func cases() map[string]check.Report {
	all := map[string]check.Report{}
	for name, r := range results() {
		all[name] = reportOf(r)
	}
	for _, code := range config.NoticeCodes {
		r := met(check.Free, "tcp 8080 is free")
		r.Notices = []check.Notice{notices[code]}
		if code.Excludes() {
			r.OK = false
		}
		all["notice-"+string(code)] = reportOf(r)
	}
	all["auto"] = autos()
	all["stamped"] = stamped()
	all["several"] = several()
	all["targets"] = targets()
	all["problems"] = problems()
	all["lint"] = lint()
	all["many"] = many()
	all["empty"] = reportOf()
	all["ranges"] = ranges()
	return all
}

var notices = map[config.NoticeCode]check.Notice{
	config.Claimed:    {Code: config.Claimed, Message: "python3 (pid 77) has bound tcp 8080 and does not listen yet"},
	config.Ephemeral:  {Code: config.Ephemeral, Message: "40000 lies in 32768-60999, from which the system takes ports for outgoing connections"},
	config.Privileged: {Code: config.Privileged, Message: "only root may bind ports below 1024 here, and the app may not be root"},
	config.Duplicate:  {Code: config.Duplicate, Message: "tcp 8080 is also needed by admin (portcheck.yml:9:11)"},
	config.Degraded:   {Code: config.Degraded, Message: "holders of other users can't be seen: open /proc/812/fd: EACCES"},
	config.TimeWait:   {Code: config.TimeWait, Message: "only closed connections hold it (TIME_WAIT)"},
	config.Squatter:   {Code: config.Squatter, Message: "macOS's AirPlay receiver listens on 5000"},
	config.UnsafePort: {Code: config.UnsafePort, Message: "browsers refuse to open port 6000"},
	config.NAT:        {Code: config.NAT, Message: "some of the callers by eth0 may be sent to 10.0.0.5:80 by a NAT rule in chain PREROUTING of table ip nat: it depends on the caller"},
	config.Replicas:   {Code: config.Replicas, Message: "tcp 8080 is published by 3 replicas: only one of them can have it"},
	config.Published:  {Code: config.Published, Message: "tcp 8080 leads to port 6379 of the container from every address of the host, and Redis often listens there"},
	config.NoCallers:  {Code: config.NoCallers, Message: "this host does not have 192.0.2.9 now, and lets the app bind it because net.ipv4.ip_nonlocal_bind is 1: callers don't reach the app there until the host gets the address"},
	config.NoIPv6:     {Code: config.NoIPv6, Message: "this host has no IPv6: judged on IPv4 alone"},
}

// autos returns a report on needs whose ports are chosen.
func autos() check.Report {
	chosen := met(check.Free, "tcp 20003-20004 (auto) is free")
	chosen.Auto, chosen.Port, chosen.PortLast = true, 20003, 20004
	none := taken(check.InUse, "udp auto in 8080: no port is free (1 in use by nginx (pid 812, nginx.service))", nginx())
	none.ID, none.Name, none.Protocol, none.Auto = "shop/dns@local/udp", "dns", port.UDP, true
	none.Alternatives, none.Asked, none.From = nil, 0, nil
	r := reportOf(chosen, none)
	r.Spans = []check.Span{{Target: "local", Protocol: port.UDP, Address: []port.Address{port.Any}, Ports: port.Set{{First: 8080, Last: 8089}}, Open: port.Set{{First: 8081, Last: 8089}}}}
	return r
}

// stamped returns a report with its time and the name of the host.
func stamped() check.Report {
	r := reportOf(met(check.Free, "tcp 8080 is free"))
	r.Generated = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.Targets[0].Hostname = "ci-1<b>.example"
	return r
}

func number(n int) *int { return &n }

func need(status check.Status, message string) check.Result {
	return check.Result{
		ID: "shop/web@local/tcp", Name: "web", Target: "local",
		Source:   config.Position{File: "portcheck.yml", Line: 6, Column: 11},
		Protocol: port.TCP, Address: []port.Address{port.Any}, Port: 8080, Expect: config.Free,
		Status: status, Severity: config.SeverityError, Method: check.BindTable, Message: message, OS: "linux", UID: &probeUID,
	}
}

var probeUID = 1000 // of the probe: not root

func met(status check.Status, message string) check.Result {
	r := need(status, message)
	r.OK = true
	return r
}

// taken returns an unmet need with holders and alternatives.
func taken(status check.Status, message string, holders ...check.Holder) check.Result {
	r := need(status, message)
	r.Endpoints = []check.Endpoint{{Address: "::", Port: 8080, Outcome: "in-use", Op: "bind", Errno: "EADDRINUSE"}}
	r.Holders = holders
	r.Alternatives = []uint16{20000, 20001, 20002}
	r.Asked = 3
	r.From = port.Set{{First: 20000, Last: 20999}}
	return r
}

func nginx() check.Holder {
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return check.Holder{
		Address: "0.0.0.0", Port: 8080, State: "listen", UID: number(0), User: "root", PID: 812,
		Process: "nginx", Executable: "/usr/sbin/nginx", Unit: "nginx.service", Started: &started,
	}
}

func python() check.Holder {
	return check.Holder{
		Address: "0.0.0.0", Port: 8080, State: "listen", UID: number(1000), User: "ann", PID: 4711,
		Process: "python3", Executable: "/usr/bin/python3", Unit: "session-3.scope",
	}
}

func leftBehind(own bool) check.Holder {
	h := python()
	h.Origin = &check.Origin{Job: &check.HolderJob{Name: "GitHub Actions/123/1/e2e/runner 3", Text: "run 123 of job e2e", Own: own}}
	return h
}

func postgres() check.Holder {
	return check.Holder{
		Address: "0.0.0.0", Port: 8080, State: "listen", UID: number(999), PID: 99, Process: "postgres",
		Container: &check.Container{ID: "0123456789abcdef0123456789abcdef", Name: "shop-db-1", Image: "postgres:18", Compose: "shop/db", Engine: "docker"},
	}
}

func behindRule() check.Holder {
	h := postgres()
	h.Address, h.Port, h.State, h.UID, h.PID, h.Process = "10.0.0.5", 80, "allocated", nil, 0, ""
	return h
}

func unseen() check.Holder {
	return check.Holder{Address: "0.0.0.0", Port: 8080, State: "listen", UID: number(0)}
}

func results() map[string]check.Result {
	all := map[string]check.Result{
		"free":          met(check.Free, "tcp 8080 is free"),
		"owned":         met(check.Owned, "tcp 8080 is held by its owner, nginx (pid 812, nginx.service)"),
		"listening":     met(check.Listening, "nginx (pid 812, nginx.service) listens on tcp 8080"),
		"reachable":     met(check.Reachable, "db.internal:5432 accepts connections"),
		"in-use":        taken(check.InUse, "tcp 8080 is in use by nginx (pid 812, nginx.service)", nginx()),
		"shadowed":      taken(check.Shadowed, "tcp 8080 would be shared with python3 (pid 4711)", python()),
		"redirected":    taken(check.Redirected, "tcp 8080 can be bound, but callers by eth0 are sent to 10.0.0.5:80 of container shop-db-1 by a NAT rule in chain PREROUTING of table ip nat (shop/db)", behindRule()),
		"leased":        taken(check.Leased, "tcp 8080 is leased to \"GitHub Actions/7/1/e2e/runner 3\" (held by pid 812, uid 1000) until 2026-01-02T15:04:05Z"),
		"denied":        need(check.Denied, "tcp 80 may not be bound: ports below 1024 need CAP_NET_BIND_SERVICE"),
		"unavailable":   need(check.Unavailable, "192.0.2.1 is not an address of this host"),
		"os-reserved":   taken(check.OSReserved, "tcp 8080 is in the excluded range 8000-8099"),
		"not-listening": need(check.NotListening, "nothing listens on tcp 8080"),
		"wrong-owner":   need(check.WrongOwner, "tcp 8080 is held by python3 (pid 4711), not by its owner"),
		"exposed":       need(check.Exposed, "tcp 8080 on loopback is served, but nginx (pid 812, nginx.service) also listens outside of it: tcp [::]:8080"),
		"undeclared":    taken(check.Undeclared, "tcp 0.0.0.0:8080 is served by nginx (pid 812, nginx.service), and no need declares it", nginx()),
		"not-closed":    need(check.Reachable, "db.internal:5432 accepts connections"),
		"closed":        met(check.Unreachable, "db.internal:5432 refuses connections"),
		"unreachable":   need(check.Unreachable, "db.internal:5432 refused the connection"),
		"unknown":       need(check.Unknown, "tcp 8080: could not determine whether a process listens there: the tcp socket table can't be read (netlink: EPERM)"),

		"in-use-process":   taken(check.InUse, "tcp 8080 is in use by python3 (pid 4711)", python()),
		"in-use-left-over": taken(check.InUse, "tcp 8080 is in use by python3 (pid 4711, left over by run 123 of job e2e)", leftBehind(false)),
		"in-use-own-job":   taken(check.InUse, "tcp 8080 is in use by python3 (pid 4711)", leftBehind(true)),
		"in-use-container": taken(check.InUse, "tcp 8080 is in use by postgres (container shop-db-1)", postgres()),
		"in-use-unseen":    taken(check.InUse, "tcp 8080 is in use by a process of user root", unseen()),
		"in-use-many":      taken(check.InUse, "tcp 8080 is in use by nginx (pid 812, nginx.service) and 3 more", nginx(), python(), postgres(), unseen()),
		"in-use-time-wait": taken(check.InUse, "tcp 8080 is in use by closed connections", check.Holder{Address: "127.0.0.1", Port: 8080, State: "time-wait"}),
		"fewer":            taken(check.InUse, "tcp 8080 is in use by nginx (pid 812, nginx.service)", nginx()),
		"no-alternative":   taken(check.InUse, "tcp 8080 is in use by nginx (pid 812, nginx.service)", nginx()),
		"no-range":         taken(check.InUse, "tcp 8080 is in use by nginx (pid 812, nginx.service)", nginx()),
		"warning":          taken(check.InUse, "tcp 8080 is in use by nginx (pid 812, nginx.service)", nginx()),
		"block":            taken(check.InUse, "tcp 8002 of 8000-8003 is in use by nginx (pid 812, nginx.service)", nginx()),
		"flag":             taken(check.InUse, "tcp 8080 is in use by python3 (pid 4711)", python()),
		"command":          taken(check.InUse, "tcp 8080 is in use by python3 (pid 4711)", python()),
		"in-use-duplicate": taken(check.InUse, "tcp 8080 is in use by nginx (pid 812, nginx.service)", nginx()),
	}
	edit(all, "reachable", func(r *check.Result) { toRemote(r, "ok", "") })
	edit(all, "closed", func(r *check.Result) { toRemote(r, "failed", "ECONNREFUSED"); r.Expect = config.Unreachable })
	edit(all, "not-closed", func(r *check.Result) { toRemote(r, "ok", ""); r.Expect = config.Unreachable })
	edit(all, "exposed", func(r *check.Result) {
		r.Expect, r.Method, r.Holders, r.Address = config.Listening, check.Table, []check.Holder{nginx()}, []port.Address{port.Loopback}
	})
	edit(all, "undeclared", func(r *check.Result) {
		r.ID, r.Name, r.Source = "undeclared-8080@local/tcp", "undeclared-8080", config.Position{File: "--undeclared"}
		r.Address, r.Endpoints, r.Method, r.Alternatives, r.Asked = []port.Address{"0.0.0.0"}, []check.Endpoint{}, check.Table, nil, 0
	})
	edit(all, "unreachable", func(r *check.Result) { toRemote(r, "failed", "ECONNREFUSED") })
	edit(all, "shadowed", func(r *check.Result) {
		r.Endpoints = []check.Endpoint{{Address: "::", Port: 8080, Outcome: "ok"}}
	})
	edit(all, "redirected", func(r *check.Result) {
		r.Endpoints = []check.Endpoint{{Address: "::", Port: 8080, Outcome: "ok"}}
		r.Redirect = &check.Redirect{From: "eth0", To: "10.0.0.5:80", Rule: "meta l4proto tcp dport 8080 dnat to 10.0.0.5:80", Comment: "shop/db", Table: "ip nat", Chain: "PREROUTING"}
	})
	edit(all, "leased", func(r *check.Result) {
		r.Endpoints = []check.Endpoint{{Address: "::", Port: 8080, Outcome: "not-tried"}}
		r.Method = check.Table
		uid, expires := 1000, time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
		r.Lease = &check.Lease{ID: "4kq2xw7hzt3n", Job: "GitHub Actions/7/1/e2e/runner 3", App: "shop", PID: 812, UID: &uid, User: "ci", Since: expires.Add(-time.Hour), Expires: expires}
	})
	edit(all, "os-reserved", func(r *check.Result) {
		r.Endpoints = []check.Endpoint{{Address: "::", Port: 8080, Outcome: "excluded", Op: "bind", Errno: "WSAEACCES"}}
	})
	edit(all, "denied", func(r *check.Result) {
		r.Port = 80
		r.Endpoints = []check.Endpoint{{Address: "::", Port: 80, Outcome: "denied", Op: "bind", Errno: "EACCES"}}
	})
	edit(all, "unavailable", func(r *check.Result) {
		r.Address = []port.Address{"192.0.2.1"}
		r.Endpoints = []check.Endpoint{{Address: "192.0.2.1", Port: 8080, Outcome: "no-address", Op: "bind", Errno: "EADDRNOTAVAIL"}}
	})
	edit(all, "not-listening", func(r *check.Result) { r.Expect, r.Method = config.Listening, check.Table })
	edit(all, "wrong-owner", func(r *check.Result) {
		r.Expect, r.Method, r.Holders = config.Listening, check.Table, []check.Holder{python()}
	})
	edit(all, "in-use-unseen", func(r *check.Result) {
		complete := false
		r.Complete = &complete
		r.Notices = []check.Notice{notices[config.Degraded]}
	})
	edit(all, "in-use-time-wait", func(r *check.Result) { r.Notices = []check.Notice{notices[config.TimeWait]} })
	edit(all, "in-use-duplicate", func(r *check.Result) {
		r.Notices = []check.Notice{notices[config.Duplicate], notices[config.Squatter]}
	})
	edit(all, "fewer", func(r *check.Result) { r.Alternatives = r.Alternatives[:1] })
	edit(all, "no-alternative", func(r *check.Result) { r.Alternatives = nil })
	edit(all, "no-range", func(r *check.Result) { r.Alternatives, r.From = nil, nil })
	edit(all, "warning", func(r *check.Result) { r.Severity = config.SeverityWarning })
	edit(all, "block", func(r *check.Result) { r.Port, r.PortLast, r.Alternatives = 8000, 8003, []uint16{20000, 20004} })
	edit(all, "flag", func(r *check.Result) {
		r.Name, r.Source = "tcp-8080", config.Position{File: "--port"}
		r.Alternatives, r.From = nil, nil
	})
	edit(all, "command", func(r *check.Result) { r.Holders[0].Command = []string{"python3", "-m", "http.server", "8080"} })
	return all
}

func edit(all map[string]check.Result, name string, change func(*check.Result)) {
	r := all[name]
	change(&r)
	all[name] = r
}

func toRemote(r *check.Result, outcome, errno string) {
	r.Expect, r.Method, r.Remote, r.Port = config.Reachable, check.Connect, "db.internal", 5432
	r.Endpoints = []check.Endpoint{{Address: "192.0.2.7", Port: 5432, Outcome: outcome, Op: "connect", Errno: errno}}
}

// reportOf returns the report that check makes of results.
func reportOf(results ...check.Result) check.Report {
	r := check.Report{
		Version: 1, Tool: "portcheck v0.1.0", OK: true, Results: results,
		Targets: []check.TargetReport{{Name: "local", OS: "linux", Namespace: check.Namespace{Kind: "host", Inode: 4026531840}, Ephemeral: "32768-60999"}},
	}
	for _, x := range results {
		r.Summary.Checked++
		switch {
		case x.OK:
			r.Summary.OK++
		case x.Status == check.Unknown:
			r.Summary.Unknown++
		case x.Severity == config.SeverityWarning:
			r.Summary.Warnings++
		default:
			r.Summary.Errors++
		}
	}
	r.OK = r.Summary.OK == r.Summary.Checked
	return r
}

func several() check.Report {
	all := results()
	warning, unknown := all["warning"], all["unknown"]
	warning.Name, warning.Source.Line = "metrics", 8
	unknown.Name, unknown.Source.Line = "cache", 12
	udp := all["in-use"]
	udp.Protocol, udp.Message = port.UDP, "udp 8080 is in use by nginx (pid 812, nginx.service)"
	return reportOf(all["in-use"], udp, warning, unknown, all["free"])
}

func targets() check.Report {
	here, there := results()["in-use"], results()["in-use"]
	there.ID, there.Target = "shop/web@app1/tcp", "app1"
	r := reportOf(here, there)
	r.Targets = append(r.Targets, check.TargetReport{Name: "app1", OS: "linux", Notices: []check.Notice{notices[config.Degraded]}})
	return r
}

// ranges returns a report with maps of ranges that have ports of every use.
func ranges() check.Report {
	one, inside := results()["in-use"], results()["free"]
	inside.Name, inside.Port = "debug", 20500
	r := reportOf(one, inside)
	whole := port.Set{{First: 20000, Last: 20999}}
	taken := func(ports port.Set) func(uint16) bool { return ports.Contains }
	local := []port.Address{port.Loopback, "192.0.2.1"}
	r.Spans = []check.Span{
		{Target: "local", Protocol: port.TCP, Address: []port.Address{port.Any}, Ports: whole, Exclude: port.Set{{First: 20980, Last: 20999}}, Open: whole.Without(taken(port.Set{{First: 20003, Last: 20003}, {First: 20040, Last: 20099}, {First: 20500, Last: 20500}}))},
		{Target: "local", Protocol: port.UDP, Address: local, Ports: port.Set{{First: 9443, Last: 9443}, {First: 8000, Last: 8003}}, Open: port.Set{{First: 8000, Last: 8001}}},
		{Target: "app1", Protocol: port.TCP, Address: []port.Address{port.Any}, Ports: whole, Open: port.Set{}},
		{Target: "app1", Protocol: port.UDP, Address: []port.Address{port.Any}, Ports: whole, Open: whole.Without(func(p uint16) bool { return p%2 == 0 })},
	}
	return r
}

func problems() check.Report {
	return check.Report{Version: 1, Tool: "portcheck v0.1.0", Problems: []config.Problem{
		{Position: config.Position{File: "portcheck.yml", Line: 3, Column: 1}, Message: `unknown key "prots": did you mean "ports"?`},
		{Position: config.Position{File: "other.yml", Line: 5, Column: 11}, Message: "port 0 lets the system choose"},
		{Position: config.Position{File: "--port"}, Message: `"80800" is not a port`},
		{Message: "no manifest found"},
	}}
}

func lint() check.Report {
	web, admin, debug := need("", ""), need("", ""), met("", "")
	web.Message, admin.Message = "tcp 8080 can't be given to both", "tcp 8080 can't be given to both"
	web.Notices = []check.Notice{notices[config.Duplicate]}
	admin.Name, admin.Source.Line, admin.Severity = "admin", 9, config.SeverityWarning
	admin.Notices = []check.Notice{{Code: config.Duplicate, Message: "tcp 8080 is also needed by web (portcheck.yml:6:11)"}, notices[config.Squatter]}
	debug.Name, debug.Port, debug.Notices = "debug", 6000, []check.Notice{notices[config.UnsafePort]}
	r := reportOf(web, admin, debug)
	r.Lint, r.Targets = true, nil
	for i := range r.Results {
		r.Results[i].Method, r.Results[i].Target = "", ""
	}
	return r
}

// many returns a report with more findings than GitHub shows annotations for.
func many() check.Report {
	var all []check.Result
	for i := range 14 {
		r := results()["in-use"]
		r.Name, r.Source.Line, r.Port = fmt.Sprintf("web%d", i), 6+i, uint16(8080+i)
		r.Message = fmt.Sprintf("tcp %d is in use by nginx (pid 812, nginx.service)", r.Port)
		if i < 2 {
			r.Status, r.Holders = check.Unknown, nil
			r.Message = "tcp 8080: could not determine whether a process listens there: the tcp socket table can't be read (netlink: EPERM)"
		}
		all = append(all, r)
	}
	for i := range 12 {
		r := results()["free"]
		r.Name, r.Source.Line, r.Port = fmt.Sprintf("ok%d", i), 30+i, uint16(9000+i)
		all = append(all, r)
	}
	return reportOf(all...)
}
