package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/port"
)

// comparison returns a comparison with a change of each kind.
func comparison(evil string) check.Diff {
	at := func(h check.Holder, address string, p uint16) check.Holder {
		h.Protocol, h.Address, h.Port, h.State = port.TCP, address, p, "listen"
		return h
	}
	stranger := at(check.Holder{PID: 66, Process: evil, Executable: evil, User: evil, Unit: evil, Container: &check.Container{ID: evil, Name: evil}}, "0.0.0.0", 80)
	change := func(kind check.ChangeKind, now, before []check.Holder) check.Change {
		x := check.Change{Kind: kind, Anomaly: kind.Anomaly(), Protocol: port.TCP, Address: "0.0.0.0", Port: 80, Holders: now, Before: before}
		if len(now) == 0 {
			x.Port = before[0].Port
		} else {
			x.Port, x.Address = now[0].Port, now[0].Address
		}
		return x
	}
	list := func(all ...check.Holder) []check.Holder { return all }
	exposed := change(check.ExposedMore, list(at(postgres(), "0.0.0.0", 5432)), list(at(postgres(), "127.0.0.1", 5432)))
	exposed.Was = []string{"127.0.0.1", evil}
	families := change(check.ExposedMore, list(at(nginx(), "::", 443)), list(at(nginx(), "::", 443)))
	families.Was = []string{"::"}
	moved := change(check.Moved, list(at(nginx(), "127.0.0.1", 8080)), list(at(nginx(), "0.0.0.0", 8080)))
	moved.Was = []string{"0.0.0.0"}
	explained := change(check.Appeared, list(at(python(), "127.0.0.1", 8000)), nil)
	explained.Anomaly, explained.ExplainedBy = false, evil+".yml:3:5"
	d := check.Diff{
		Tool: "portcheck 1.2.3", Generated: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Base: check.TargetReport{Name: "local", Hostname: "a"}, Now: check.TargetReport{Name: evil, Hostname: evil},
		Warnings: []string{"the baseline is of host \"a\", and it is compared with host " + evil},
		Changes: []check.Change{
			change(check.Appeared, list(stranger), nil),
			change(check.ChangedHands, list(stranger, at(nginx(), "0.0.0.0", 80)), list(at(nginx(), "0.0.0.0", 80))),
			exposed, families, moved, explained,
			change(check.Gone, nil, list(at(python(), "0.0.0.0", 9000))),
		},
		Unknown: []check.Change{change(check.HandsUnknown, list(at(unseen(), "0.0.0.0", 22)), list(at(nginx(), "0.0.0.0", 22)))},
		Summary: check.DiffSummary{Anomalies: 4, Explained: 1, Other: 2, Unknown: 1, Same: 7, Ignored: 3},
	}
	return d
}

func TestDiff(t *testing.T) {
	for name, d := range map[string]check.Diff{"diff": comparison("evil"), "diff-none": {OK: true, Now: check.TargetReport{Name: "local"}}} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			for _, format := range DiffFormats.Names() {
				b.WriteString("-- " + format + " --\n")
				if err := DiffFormats[format](&b, d, Options{}); err != nil {
					t.Fatal(err)
				}
			}
			compareGolden(t, name, b.String())
		})
	}
}

// An address of IPv6 is not taken for a command of a CI runner.
func TestDiffNamesIPv6Addresses(t *testing.T) {
	for _, kind := range []check.ChangeKind{check.Moved, check.ExposedMore} {
		x := check.Change{Kind: kind, Protocol: port.TCP, Address: "0.0.0.0", Port: 80, Holders: []check.Holder{nginx()}, Before: []check.Holder{nginx()}, Was: []string{"::", "192.0.2.1"}}
		d := check.Diff{Now: check.TargetReport{Name: "local"}, Changes: []check.Change{x}}
		for name, want := range map[string]string{"text": "on [::], 192.0.2.1", "junit": "on [::], 192.0.2.1", "markdown": `on \[::\], 192.0.2.1`} {
			var b bytes.Buffer
			if err := DiffFormats[name](&b, d, Options{}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s of %s: no %s in\n%s", name, kind, want, &b)
			}
		}
	}
}

// Text of strangers can't break out of a line, a cell or a value in any format.
func TestDiffOfHostileText(t *testing.T) {
	const evil = "x\n::error::#\u0023[add-mask]80 \x1b[1m\u202e|<b>`@octocat ]]> \"\\"
	for name, format := range DiffFormats {
		var b, plain bytes.Buffer
		if err := format(&b, comparison(evil), Options{}); err != nil {
			t.Fatal(err)
		}
		if err := format(&plain, comparison("evil"), Options{}); err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Count(b.String(), "\n"), strings.Count(plain.String(), "\n"); got != want {
			t.Errorf("%s: %d lines, want %d:\n%s", name, got, want, &b)
		}
		for _, bad := range []string{"\x1b", "\u202e", "\n::error", "##[", "@octocat|"} {
			if strings.Contains(b.String(), bad) {
				t.Errorf("%s: contains %q:\n%s", name, bad, &b)
			}
		}
		if name == "markdown" && strings.Contains(b.String(), "<b>") {
			t.Errorf("markdown: a tag:\n%s", &b)
		}
	}
}

// A list is read back as it was written, and what is wrong with another text is named
// with its position.
func TestReadList(t *testing.T) {
	var b bytes.Buffer
	l := listing()
	l.Targets = l.Targets[:1]
	if err := List(&b, l, "json", Options{}); err != nil {
		t.Fatal(err)
	}
	whole := b.String()
	read, err := new(Reader).ReadList("base.json", &b)
	if err != nil || len(read.Sockets) != len(l.Sockets) || read.Sockets[0].Process != "nginx" {
		t.Fatalf("%v: %+v", err, read)
	}
	if _, err := new(Reader).ReadList("base.json", strings.NewReader("\ufeff"+whole)); err != nil {
		t.Errorf("with a byte order mark: %v", err)
	}
	const start = `{"version": 1, "targets": [{"name": "local", "notices": []}], "sockets": [`
	for text, want := range map[string]string{
		"":                   "base.json: is empty: want the output of `portcheck list -f json`",
		"null":               "base.json:1:1: is not a list of portcheck: version is missing",
		"[]":                 "base.json:1:1: is a JSON array: want the output",
		"{\n  \"a\": [1,}":   "base.json:2:11: is not JSON, or is incomplete",
		`{"version": 1`:      "base.json:1:13: is not JSON, or is incomplete",
		`{"version": 2}`:     "base.json:1:1: has list version 2; this portcheck reads version 1",
		`{"version": "1"}`:   "base.json:1:15: version can't be a string",
		`{"version": 1}`:     "base.json:1:1: is not a list of portcheck: want targets and sockets",
		`{"containers": []}`: "base.json:1:1: is not a list of portcheck: version is missing",
		`{"version": 1, "targets": [], "results": []}`:                                                 "base.json:1:1: is a report of check: want the output of `portcheck list",
		`{"version": 1, "targets": [], "sockets": []}`:                                                 "base.json:1:1: has 0 targets: want one",
		`{"version": 1, "targets": [{"name": ""}], "sockets": []}`:                                     "base.json:1:28: targets[0].name is missing",
		start + "\n {\"protocol\": \"tcp\", \"address\": \"::\", \"port\": 1},\n  {\"port\": \"x\"}]}": "base.json:3:14: sockets[1]: port can't be a string",
		start + "\n {\"protocol\": \"sctp\"}]}":                                                        "base.json:2:2: sockets[0]: protocol \"sctp\": want tcp or udp",
		start + `{"protocol": "tcp", "address": "somewhere", "port": 1}]}`:                             "sockets[0]: address \"somewhere\": want an IP address",
		start + `{"protocol": "tcp", "address": "::1", "port": 0}]}`:                                   "sockets[0]: port: want a number from 1 to 65535",
		start + `{"protocol": "tcp", "address": "::1", "port": 1, "pid": -1}]}`:                        "sockets[0]: want a pid from 1 and a uid from 0",
		start + strings.Repeat("{},", mostListed) + "{}]}":                                             "base.json:1:98379: has more than 32,768 sockets, the limit of a list",
		start + strings.Repeat("null,", maxObjects+1) + "{}]}":                                         "has too many values",
		start + strings.Repeat("{},", maxObjects+1) + "{}]}":                                           "has too many values",
		"\ufeff":                        "base.json: is empty: want the output",
		"\ufeff{\n  \"a\": [1,}":        "base.json:2:11: is not JSON, or is incomplete",
		"\xff\xfe{\x00":                 "base.json: is UTF-16: save it as UTF-8",
		"\xfe\xff\x00{":                 "base.json: is UTF-16: save it as UTF-8",
		"{\x00\"\x00":                   "base.json: is UTF-16: save it as UTF-8",
		strings.Repeat(" ", maxBytes+1): "base.json: is larger than 16 MiB",
	} {
		_, err := new(Reader).ReadList("base.json", strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: got %v, want %s", text, err, want)
		}
	}
}

// The same name says nothing if the executable is another one.
func TestChangedHandsNamesTheExecutable(t *testing.T) {
	h := check.Holder{Address: "0.0.0.0", Port: 80, Process: "srv", Executable: "/opt/srv"}
	was := h
	was.Executable = "/tmp/srv"
	text := changeStory(check.Change{Kind: check.ChangedHands, Holders: []check.Holder{h}, Before: []check.Holder{was}})
	if want := "srv by /opt/srv; before it was srv by /tmp/srv"; text != want {
		t.Errorf("%q, want %q", text, want)
	}
}
