package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// Linux's defaults of ip_local_port_range and ip_unprivileged_port_start.
var (
	linuxEphemeral  = port.Range{First: 32768, Last: 60999}
	linuxPrivileged = port.Range{First: 1, Last: 1023}
)

// Lint checks needs without a host: its result is the same everywhere. The error is
// the context's.
func Lint(ctx context.Context, needs []Need, tool string) (Report, error) {
	report := Report{Version: 1, Tool: tool, Lint: true}
	rivals := findRivals(ctx, needs)
	for i, n := range needs {
		if ctx.Err() != nil {
			return Report{}, context.Cause(ctx)
		}
		for _, proto := range n.Protocols {
			r := n.result(proto)
			r.OK = true
			r.Message = n.subject(proto) + " is declared"
			if n.Auto { // nothing is known of a port that is chosen later
				report.Results = append(report.Results, r)
				continue
			}
			n.noteDuplicates(&r, rivals[resultKey{i, proto}])
			n.noteReplicas(&r)
			n.notePorts(&r, "")
			n.notePublished(&r)
			if local := !n.Expect.Connects(); local {
				n.noteEphemeral(&r, linuxEphemeral, new(port.Bits), "by Linux's default")
			}
			if n.Expect == config.Free && n.Ports.Intersects(linuxPrivileged) {
				n.notify(&r, config.Privileged, "ports below 1024 need root or CAP_NET_BIND_SERVICE on Linux, by default")
			}
			report.Results = append(report.Results, r)
		}
	}
	report.Finish()
	return report, nil
}

// noteDuplicates clears OK and adds a notice if other needs exclude the result's.
func (n Need) noteDuplicates(r *Result, rivals []Need) {
	if len(rivals) == 0 || slices.Contains(n.Allow, config.Duplicate) {
		return
	}
	names := make([]string, len(rivals))
	for i, o := range rivals {
		names[i] = fmt.Sprintf("%s (%s)", o.Name, o.At)
	}
	if len(names) > rivalsShown {
		names = append(names[:rivalsShown], "others")
	}
	r.OK, r.Rivals = false, len(rivals)
	n.notify(r, config.Duplicate, "%s is also needed by %s: only one of them can have it", n.subject(r.Protocol), strings.Join(names, ", "))
}

// noteReplicas clears OK and adds a notice if several of the app want the port.
func (n Need) noteReplicas(r *Result) {
	if n.Replicas < 2 || n.Expect != config.Free || slices.Contains(n.Allow, config.Replicas) {
		return
	}
	r.OK = false
	n.notify(r, config.Replicas, "%s is published by %d replicas: only one of them can have it", n.subject(r.Protocol), n.Replicas)
}

// notePublished adds a notice if every address of the host leads to a port of a
// container that only few should reach.
func (n Need) notePublished(r *Result) {
	what := sensitive[n.Container]
	wildcard := func(a port.Address) bool {
		return a == port.Any || a == port.Any4 || a == port.Any6 || a == "0.0.0.0" || a == "::"
	}
	if what == "" || r.Protocol != port.TCP || !slices.ContainsFunc(n.Addresses, wildcard) {
		return
	}
	n.notify(r, config.Published, "%s leads to port %d of the container from every address of the host, and %s often listens there: publish it on 127.0.0.1 if only this host needs it", n.subject(r.Protocol), n.Container, what)
}

// sensitive are the ports of databases and of programs that let callers run code.
var sensitive = map[uint16]string{
	1433: "Microsoft SQL Server", 1521: "Oracle Database", 2375: "the Docker API", 2379: "etcd", 3306: "MySQL",
	5005: "a Java debugger", 5432: "PostgreSQL", 5601: "Kibana", 5984: "CouchDB", 6379: "Redis", 7474: "Neo4j",
	7687: "Neo4j", 8086: "InfluxDB", 8123: "ClickHouse", 8161: "the ActiveMQ console", 8500: "Consul",
	9042: "Cassandra", 9200: "Elasticsearch", 9229: "a Node.js debugger", 9300: "Elasticsearch",
	11211: "memcached", 15672: "the RabbitMQ console", 26257: "CockroachDB", 27017: "MongoDB", 28015: "RethinkDB",
}

// notePorts adds notices about the port numbers themselves. os restricts the
// squatters to those of one system; "" stands for all.
func (n Need) notePorts(r *Result, os string) {
	if n.Expect.Connects() {
		return
	}
	for _, s := range squatters {
		if n.Ports.Contains(s.port) && slices.Contains(s.protocols, r.Protocol) && (os == "" || s.os == os) {
			n.notify(r, config.Squatter, "%s often listens on port %d on %s", s.program, s.port, osNames[s.os])
		}
	}
	if r.Protocol == port.TCP {
		for _, p := range unsafePorts {
			if n.Ports.Contains(p) {
				n.notify(r, config.UnsafePort, "browsers refuse to connect to port %d (fetch standard, bad ports): this matters only if it is to be opened in a browser", p)
				break
			}
		}
	}
}

// noteEphemeral adds a notice if the OS may give the port to an outgoing
// connection. reserved are the ports that it never gives to one.
func (n Need) noteEphemeral(r *Result, ephemeral port.Range, reserved *port.Bits, by string) {
	if !n.Ports.Intersects(ephemeral) {
		return
	}
	if p := reserved.NextMissing(max(n.Ports.First, ephemeral.First)); p <= int(min(n.Ports.Last, ephemeral.Last)) {
		n.notify(r, config.Ephemeral, "port %d is an ephemeral port (%s %s): any outgoing connection may take it before your app does", p, ephemeral, by)
	}
}

type squatter struct {
	port      uint16
	protocols []port.Protocol
	os        string
	program   string
}

var osNames = map[string]string{"darwin": "macOS", "linux": "Linux", "windows": "Windows"}

// squatters are programs that come with an OS and listen on a port that apps use
// as well.
var squatters = []squatter{
	{5000, []port.Protocol{port.TCP}, "darwin", "AirPlay Receiver"},
	{7000, []port.Protocol{port.TCP}, "darwin", "AirPlay Receiver"},
	{53, []port.Protocol{port.TCP, port.UDP}, "linux", "systemd-resolved"},
	{111, []port.Protocol{port.TCP, port.UDP}, "linux", "rpcbind"},
	{631, []port.Protocol{port.TCP}, "linux", "CUPS"},
	{5353, []port.Protocol{port.UDP}, "linux", "Avahi"},
	{80, []port.Protocol{port.TCP}, "windows", "HTTP.sys (IIS and others)"},
	{135, []port.Protocol{port.TCP}, "windows", "RPC Endpoint Mapper"},
	{445, []port.Protocol{port.TCP}, "windows", "SMB"},
	{5040, []port.Protocol{port.TCP}, "windows", "Connected Devices Platform"},
	{5357, []port.Protocol{port.TCP}, "windows", "Web Services on Devices"},
}

// unsafePorts is the list of bad ports of the fetch standard
// (https://fetch.spec.whatwg.org/#port-blocking).
var unsafePorts = []uint16{
	1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
	110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530,
	531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190,
	5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
}
