package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// needOf returns a need on a line of its own in a file.
func needOf(file, name string, changes ...func(*Need)) Need {
	n := Need{App: strings.TrimSuffix(file, ".yml"), Target: "local", Port: config.Port{
		At: config.Position{File: file, Line: 5 + len(name), Column: 11}, Name: name,
		Ports: port.One(8080), Protocols: []port.Protocol{port.TCP}, Addresses: []port.Address{port.Any},
		Expect: config.Free, Severity: config.SeverityError,
	}}
	for _, change := range changes {
		change(&n)
	}
	return n
}

func onMachine(name string) func(*Need) { return func(n *Need) { n.Machine = name } }
func onTarget(name string) func(*Need)  { return func(n *Need) { n.Target = name } }

func allow(codes ...config.NoticeCode) func(*Need) { return func(n *Need) { n.Allow = codes } }
func tcpAndUDP(n *Need)                            { n.Protocols = []port.Protocol{port.TCP, port.UDP} }

// linted returns the report of Lint on needs.
func linted(t *testing.T, needs []Need) Report {
	t.Helper()
	r, err := Lint(t.Context(), needs, "portcheck test")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type lintCase struct {
	name  string
	needs []Need
	want  []string // for each result "ok" or "no", then its notices
}

func lintCases() []lintCase {
	const a, b = "a.yml", "b.yml"
	return []lintCase{
		{"nothing to say", []Need{needOf(a, "x")}, []string{"ok"}},
		{"duplicates in a manifest", []Need{needOf(a, "x"), needOf(a, "y")}, []string{"no duplicate", "no duplicate"}},
		{"of different ports", []Need{needOf(a, "x"), needOf(a, "y", ports(8081, 8081))}, []string{"ok", "ok"}},
		{"of different targets", []Need{needOf(a, "x"), needOf(a, "x", onTarget("app1"))}, []string{"ok", "ok"}},
		{"across manifests of no host", []Need{needOf(a, "x"), needOf(b, "x")}, []string{"ok", "ok"}},
		{"across manifests of one host", []Need{needOf(a, "x", onMachine("m")), needOf(b, "x", onMachine("m"))}, []string{"no duplicate", "no duplicate"}},
		{"across manifests of two hosts", []Need{needOf(a, "x", onMachine("m")), needOf(b, "x", onMachine("n"))}, []string{"ok", "ok"}},
		{"across manifests, one of no host", []Need{needOf(a, "x", onMachine("m")), needOf(b, "x")}, []string{"ok", "ok"}},
		{"tcp and udp", []Need{needOf(a, "x"), needOf(a, "y", udp)}, []string{"ok", "ok"}},
		{"tcp and both", []Need{needOf(a, "x"), needOf(a, "y", tcpAndUDP)}, []string{"no duplicate", "no duplicate", "ok"}},
		{"two loopback addresses", []Need{needOf(a, "x", on("127.0.0.1")), needOf(a, "y", on("127.0.0.2"))}, []string{"ok", "ok"}},
		{"any and a loopback address", []Need{needOf(a, "x"), needOf(a, "y", on("127.0.0.2"))}, []string{"no duplicate", "no duplicate"}},
		{"any4 and ::1", []Need{needOf(a, "x", on(port.Any4)), needOf(a, "y", on("::1"))}, []string{"ok", "ok"}},
		{"blocks that meet", []Need{needOf(a, "x", ports(8080, 8083)), needOf(a, "y", ports(8083, 8090))}, []string{"no duplicate", "no duplicate"}},
		{"blocks side by side", []Need{needOf(a, "x", ports(8080, 8083)), needOf(a, "y", ports(8084, 8090))}, []string{"ok", "ok"}},
		{"a port in a block", []Need{needOf(a, "x", ports(8000, 8099)), needOf(a, "y")}, []string{"no duplicate", "no duplicate"}},
		{"both reuse_port", []Need{needOf(a, "x", reusePort), needOf(a, "y", reusePort)}, []string{"ok", "ok"}},
		{"one reuse_port", []Need{needOf(a, "x", reusePort), needOf(a, "y")}, []string{"no duplicate", "no duplicate"}},
		{"one listening", []Need{needOf(a, "x"), needOf(a, "y", listening)}, []string{"ok", "ok"}},
		{"one reachable", []Need{needOf(a, "x", ports(5432, 5432)), needOf(a, "y", reachable)}, []string{"ok", "ok"}},
		{"one allows it", []Need{needOf(a, "x", allow(config.Duplicate)), needOf(a, "y")}, []string{"ok", "no duplicate"}},
		{"both allow it", []Need{needOf(a, "x", allow(config.Duplicate)), needOf(a, "y", allow(config.Duplicate))}, []string{"ok", "ok"}},
		{"squatter", []Need{needOf(a, "x", ports(5000, 5000))}, []string{"ok squatter"}},
		{"squatter in a block", []Need{needOf(a, "x", ports(6990, 7010))}, []string{"ok squatter"}},
		{"squatter of tcp, not of udp", []Need{needOf(a, "x", ports(5000, 5000), udp)}, []string{"ok"}},
		{"unsafe-port", []Need{needOf(a, "x", ports(6665, 6669))}, []string{"ok unsafe-port"}},
		{"unsafe-port is of tcp", []Need{needOf(a, "x", ports(6000, 6000), udp)}, []string{"ok"}},
		{"ephemeral", []Need{needOf(a, "x", ports(32768, 32768))}, []string{"ok ephemeral"}},
		{"below the ephemeral ports", []Need{needOf(a, "x", ports(32767, 32767))}, []string{"ok"}},
		{"the last ephemeral port", []Need{needOf(a, "x", ports(60999, 60999))}, []string{"ok ephemeral"}},
		{"above the ephemeral ports", []Need{needOf(a, "x", ports(61000, 61000))}, []string{"ok"}},
		{"the last privileged port", []Need{needOf(a, "x", ports(1023, 1023))}, []string{"ok privileged"}},
		{"the first port that is not privileged", []Need{needOf(a, "x", ports(1024, 1024))}, []string{"ok"}},
		{"both allow reuse_address of udp", []Need{needOf(a, "x", udp, reuseAddress), needOf(a, "y", udp, reuseAddress)}, []string{"ok", "ok"}},
		{"ephemeral at the end of a block", []Need{needOf(a, "x", ports(32760, 32770))}, []string{"ok ephemeral"}},
		{"the last port", []Need{needOf(a, "x", ports(65535, 65535))}, []string{"ok"}},
		{"privileged", []Need{needOf(a, "x", ports(443, 443))}, []string{"ok privileged"}},
		{"privileged is about binding", []Need{needOf(a, "x", ports(443, 443), listening)}, []string{"ok"}},
		{"the port of a remote", []Need{needOf(a, "x", reachable, ports(6000, 6000))}, []string{"ok"}},
		{"an ephemeral port of a remote", []Need{needOf(a, "x", reachable, ports(40000, 40000))}, []string{"ok"}},
		{"replicas", []Need{needOf(a, "x", func(n *Need) { n.Replicas = 2 }), needOf(a, "y", ports(81, 81), func(n *Need) { n.Replicas = 1 })}, []string{"no replicas", "ok privileged"}},
		{"replicas allowed", []Need{needOf(a, "x", allow(config.Replicas), func(n *Need) { n.Replicas = 2 })}, []string{"ok"}},
		{"replicas and another need", []Need{needOf(a, "x", func(n *Need) { n.Replicas = 2 }), needOf(a, "y")}, []string{"no duplicate replicas", "no duplicate"}},
		{"published everywhere", []Need{needOf(a, "x", container(5432)), needOf(a, "y", ports(81, 81), container(80))}, []string{"ok published-everywhere", "ok privileged"}},
		{"published on loopback", []Need{needOf(a, "x", container(5432), on("127.0.0.1"))}, []string{"ok"}},
		{"published everywhere by IPv4", []Need{needOf(a, "x", container(5432), on(port.Any4))}, []string{"ok published-everywhere"}},
		{"two files of one project", []Need{needOf(a, "x", project("p")), needOf("b.yml", "y", project("p"))}, []string{"no duplicate", "no duplicate"}},
		{"files of two projects", []Need{needOf(a, "x", project("p")), needOf("b.yml", "y", project("q"))}, []string{"ok", "ok"}},
		{"several notices", []Need{needOf(a, "x", ports(53, 53))}, []string{"ok squatter unsafe-port privileged"}},
		{"all allowed", []Need{needOf(a, "x", ports(53, 53), allow(config.Squatter, config.UnsafePort, config.Privileged))}, []string{"ok"}},
		{"ephemeral allowed", []Need{needOf(a, "x", ports(40000, 40000), allow(config.Ephemeral))}, []string{"ok"}},
	}
}

func container(p uint16) func(*Need) { return func(n *Need) { n.Container = p } }

func project(name string) func(*Need) { return func(n *Need) { n.Project = name } }

func TestLint(t *testing.T) {
	for _, c := range lintCases() {
		t.Run(c.name, func(t *testing.T) {
			report := linted(t, c.needs)
			var got []string
			all := true
			for _, r := range report.Results {
				words := []string{"no"}
				if r.OK {
					words[0] = "ok"
				}
				all = all && r.OK
				for _, n := range r.Notices {
					words = append(words, string(n.Code))
				}
				got = append(got, strings.Join(words, " "))
				if r.Status != "" || r.Method != "" || r.Endpoints != nil {
					t.Errorf("a result of lint has no status, method or endpoints: %+v", r)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if report.OK != all || !report.Lint || len(report.Targets) > 0 {
				t.Errorf("%+v", report)
			}
		})
	}
}

func TestDuplicatesNameTheOthersWithTheirPositions(t *testing.T) {
	needs := []Need{needOf("a.yml", "x"), needOf("a.yml", "yy"), needOf("a.yml", "zzz")}
	got := linted(t, needs).Results[0].Notices[0].Message
	if want := "tcp 8080 is also needed by yy (a.yml:7:11), zzz (a.yml:8:11): only one of them can have it"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	needs = append(needs, needOf("a.yml", "wwww"))
	got = linted(t, needs).Results[0].Notices[0].Message
	if want := "tcp 8080 is also needed by yy (a.yml:7:11), zzz (a.yml:8:11), wwww (a.yml:9:11): only one of them can have it"; got != want {
		t.Errorf("three others, all named: %s\nwant %s", got, want)
	}
	needs = needs[:3]
	for len(needs) < 200 {
		needs = append(needs, needOf("a.yml", strings.Repeat("n", len(needs))))
	}
	for range 10 { // the message is the same every time
		got = linted(t, needs).Results[0].Notices[0].Message
		want := "tcp 8080 is also needed by yy (a.yml:7:11), zzz (a.yml:8:11)"
		for i := 3; i < 11; i++ {
			want += fmt.Sprintf(", %s (a.yml:%d:11)", strings.Repeat("n", i), i+5)
		}
		if want += ", others: only one of them can have it"; got != want {
			t.Fatalf("%s\nwant %s", got, want)
		}
	}
}

func TestSquattersAreNamed(t *testing.T) {
	var got []string
	for _, p := range []uint16{53, 80, 111, 135, 445, 631, 5000, 5040, 5353, 5357, 7000} {
		for _, r := range linted(t, []Need{needOf("a.yml", "x", ports(p, p), tcpAndUDP)}).Results {
			for _, n := range r.Notices {
				if n.Code == config.Squatter {
					got = append(got, string(r.Protocol)+": "+n.Message)
				}
			}
		}
	}
	want := []string{
		"tcp: systemd-resolved often listens on port 53 on Linux", "udp: systemd-resolved often listens on port 53 on Linux",
		"tcp: HTTP.sys (IIS and others) often listens on port 80 on Windows",
		"tcp: rpcbind often listens on port 111 on Linux", "udp: rpcbind often listens on port 111 on Linux",
		"tcp: RPC Endpoint Mapper often listens on port 135 on Windows", "tcp: SMB often listens on port 445 on Windows",
		"tcp: CUPS often listens on port 631 on Linux", "tcp: AirPlay Receiver often listens on port 5000 on macOS",
		"tcp: Connected Devices Platform often listens on port 5040 on Windows", "udp: Avahi often listens on port 5353 on Linux",
		"tcp: Web Services on Devices often listens on port 5357 on Windows", "tcp: AirPlay Receiver often listens on port 7000 on macOS",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// badPorts is the table of the fetch standard, service and port, without 0
// (https://fetch.spec.whatwg.org/#port-blocking, read in November 2026).
const badPorts = `
tcpmux 1, echo 7, discard 9, systat 11, daytime 13, netstat 15, qotd 17, chargen 19, ftp-data 20, ftp 21,
ssh 22, telnet 23, smtp 25, time 37, name 42, nicname 43, domain 53, tftp 69, (none) 77, finger 79, (none) 87,
supdup 95, hostname 101, iso-tsap 102, gppitnp 103, acr-nema 104, pop2 109, pop3 110, sunrpc 111, auth 113,
sftp 115, uucp-path 117, nntp 119, ntp 123, epmap 135, netbios-ns 137, netbios-ssn 139, imap 143, snmp 161,
bgp 179, ldap 389, svrloc 427, submissions 465, exec 512, login 513, shell 514, printer 515, tempo 526,
courier 530, chat 531, netnews 532, uucp 540, afp 548, rtsp 554, remotefs 556, nntps 563, submission 587,
syslog-conn 601, ldaps 636, ftps-data 989, ftps 990, imaps 993, pop3s 995, h323gatestat 1719,
h323hostcall 1720, pptp 1723, nfs 2049, apple-sasl 3659, npp 4045, sieve 4190, sip 5060, sips 5061, x11 6000,
sane-port 6566, ircu 6665, ircu 6666, ircu 6667, ircu 6668, ircu 6669, osaut 6679, ircs-u 6697, amanda 10080
`

func TestUnsafePortsAreThoseOfTheFetchStandard(t *testing.T) {
	var bad []uint16
	for row := range strings.SplitSeq(badPorts, ",") {
		p, err := port.ParseNumber(strings.Fields(row)[1])
		if err != nil {
			t.Fatal(err)
		}
		bad = append(bad, p)
	}
	if diff := cmp.Diff(bad, unsafePorts); diff != "" {
		t.Errorf("-standard +unsafePorts:\n%s", diff)
	}
	var needs []Need
	for p := uint16(1); p < 11_000; p++ {
		needs = append(needs, needOf("a.yml", "x", ports(p, p)))
	}
	for _, r := range linted(t, needs).Results {
		unsafe := slices.ContainsFunc(r.Notices, func(n Notice) bool { return n.Code == config.UnsafePort })
		if unsafe != slices.Contains(bad, r.Port) {
			t.Errorf("port %d: unsafe is %t", r.Port, unsafe)
		}
	}
}
