package config

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/org/portcheck/port"
)

// What x-portcheck says is that of the needs, also by way of anchors.
func TestExtensionOfCompose(t *testing.T) {
	t.Chdir(t.TempDir())
	text := `name: shop
x-common: &common
  severity: warning
x-portcheck:
  host: app1
  range: 8000-8099
  exclude: [8080]
  wait: 5s
  allow: [ephemeral]
  targets: {app1: ssh://deploy@app1}
services:
  web:
    ports: ["8080:80"]
    x-portcheck:
      <<: *common
      env: WEB_PORT
      range: [9000-9009, 9100]
      owner: {process: nginx}
      expect: listening
  db:
    x-portcheck: *common
    ports: ["5432:5432", "5433:5433"]
  cache:
    ports: ["6379:6379"]
`
	if err := os.WriteFile("compose.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	all, found := Load([]string{"compose.yaml"}, nil, Options{})
	if len(found) > 0 {
		t.Fatal(lines(found))
	}
	containers := map[string]uint16{"web": 80, "db-5432": 5432, "db-5433": 5433, "cache": 6379}
	need := func(line, column int, name string, number uint16, change func(*Port)) Port {
		p := Port{
			At: Position{"compose.yaml", line, column}, Name: name, Ports: port.Range{First: number, Last: number},
			Protocols: []port.Protocol{port.TCP}, Addresses: []port.Address{port.Any}, Expect: Free, Severity: SeverityWarning,
			Owner: []Owner{{Compose: "shop/db"}}, Range: port.Set{{First: 8000, Last: 8099}}, Exclude: port.Set{{First: 8080, Last: 8080}},
			Wait: 5 * time.Second, Allow: []NoticeCode{Ephemeral}, Project: "shop", Container: containers[name],
		}
		change(&p)
		return p
	}
	want := []Manifest{{
		File: "compose.yaml", Compose: true, App: "shop", Host: "app1",
		Targets: []NamedTarget{{Position{"compose.yaml", 10, 13}, "app1", "ssh://deploy@app1"}},
		Ports: []Port{
			need(13, 13, "web", 8080, func(p *Port) {
				p.Env, p.Expect, p.Owner = "WEB_PORT", Listening, []Owner{{Process: "nginx"}}
				p.Range = port.Set{{First: 9000, Last: 9009}, {First: 9100, Last: 9100}}
			}),
			need(22, 13, "db-5432", 5432, func(*Port) {}),
			need(22, 26, "db-5433", 5433, func(*Port) {}),
			need(24, 13, "cache", 6379, func(p *Port) { p.Severity, p.Owner = SeverityError, []Owner{{Compose: "shop/cache"}} }),
		},
	}}
	if diff := cmp.Diff(want, all, cmpopts.IgnoreFields(Port{}, "Service", "Entry")); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}
