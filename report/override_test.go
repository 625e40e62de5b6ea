package report

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/org/portcheck/check"
	"github.com/org/portcheck/config"
	"github.com/org/portcheck/port"
)

// A Compose file with every way to publish a port.
const everyPort = `name: shop
x-entry: &entry {target: 70, published: 7070, host_ip: 127.0.0.3}
services:
  web:
    image: x
    ports:
      - "8080:80"
      - "127.0.0.1:8443:443"
      - "[::1]:8444:444/udp"
      - "99"
      - "127.0.0.1::97"
      - "96/udp"
      - "9000-9002:9000-9002"
      - "9100-9110:91"
      - "7000:7000/sctp"
      - 8085:85/tcp
      - {target: 1234, published: 1235, host_ip: "::", name: "a \"$$x\\b ##[y] \U0001f600", app_protocol: http, mode: host}
      - {target: 1236, host_ip: 127.0.0.2, protocol: udp}
      - {target: 1237, published: "1240-1250"}
      - <<: *entry
        published: 7071
      - *entry
      - "8080:80"
  api.v1-X_:
    image: x
    ports: ["${API_PORT:-8081}:81", "${API_PORT:-8081}:81/udp", "${IP:-127.0.0.1}:8082:82"]
  "null":
    image: x
    ports: ["8090:80"]
  other:
    image: x
    network_mode: host
    expose: ["6000"]
  untouched:
    image: x
    ports: ["${RANDOM_PORT:-}:80"]
`

// assignedPorts returns an assignment of the ports of a Compose file, each n above the
// one in the file, and the file's project as Compose reads it, with the override file if
// there is an assignment.
func assignedPorts(t *testing.T, n uint16) check.Assignment {
	t.Helper()
	all, problems := config.Load([]string{"compose.yaml"}, strings.NewReader(""), config.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var a check.Assignment
	for _, p := range all[0].Ports {
		assigned := check.AssignedPort{Name: p.Name, Port: p.Ports.First + n, PortLast: p.Ports.Last + n, Source: p.At, Service: p.Service, Entry: p.Entry}
		if p.Service.OnHost {
			assigned.Port, assigned.PortLast = p.Ports.First, p.Ports.Last
		}
		a.Ports = append(a.Ports, assigned)
	}
	return a
}

func composeProject(t *testing.T, texts ...string) map[string]types.ServiceConfig {
	t.Helper()
	logrus.SetOutput(io.Discard)
	t.Cleanup(func() { logrus.SetOutput(os.Stderr) })
	details := types.ConfigDetails{WorkingDir: ".", Environment: types.Mapping{}}
	for _, text := range texts {
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: "compose.yaml", Content: []byte(text)})
	}
	project, err := loader.LoadWithContext(context.Background(), details)
	if err != nil {
		t.Fatal(err)
	}
	return project.Services
}

// With an override file Compose has the same ports as without, except for the host ports
// that were chosen.
func TestOverrideIsThatOfCompose(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("compose.yaml", []byte(everyPort), 0o644); err != nil {
		t.Fatal(err)
	}
	moved := func(s string, n int) string { // as the assignment moves it
		r, err := port.ParseRange(s)
		if err != nil {
			return s
		}
		r.First += uint16(n)
		r.Last = r.First // of a range from which the engine chooses, the first was chosen
		return r.String()
	}
	for _, n := range []int{0, 1000} {
		var b bytes.Buffer
		if err := assignmentCompose(&b, assignedPorts(t, uint16(n)), Options{}); err != nil {
			t.Fatal(err)
		}
		want := composeProject(t, everyPort)
		got := composeProject(t, everyPort, b.String())
		for name, s := range want {
			for i, p := range s.Ports {
				if p.Protocol != "sctp" && name != "untouched" {
					s.Ports[i].Published = moved(p.Published, n)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d: -want +got\n%s\nfrom\n%s", n, diff, b.String())
		}
	}
}

func TestOverrideThatIsImpossible(t *testing.T) {
	web := &config.Service{Name: "web", Ports: []config.ServicePort{{Target: 80, Published: "8080"}}}
	at := config.Position{File: "compose.yaml", Line: 4, Column: 9}
	for name, c := range map[string]struct {
		ports []check.AssignedPort
		want  string
	}{
		"no service":   {[]check.AssignedPort{{Name: "web", Port: 8081, Source: at}}, "compose.yaml:4:9: web is not published by a Compose file"},
		"two targets":  {[]check.AssignedPort{{Name: "web", Port: 8081, Service: web, Source: at}, {Name: "web", Port: 8082, Service: web, Source: at}}, "compose.yaml:4:9: web has port 8081 on one target and 8082 on another, which one override file can't hold"},
		"host network": {[]check.AssignedPort{{Name: "web", Port: 8081, Declared: 8080, Service: &config.Service{OnHost: true}, Source: at}}, "compose.yaml:4:9: web has port 8081 instead of 8080, but is in the host's network, where no override file can move it"},
	} {
		if err := assignmentCompose(io.Discard, check.Assignment{Ports: c.ports}, Options{}); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	var b bytes.Buffer
	same := []check.AssignedPort{{Name: "web", Port: 8081, Service: web}, {Name: "web", Port: 8081, Service: web}}
	if err := assignmentCompose(&b, check.Assignment{Ports: same}, Options{}); err != nil || strings.Count(b.String(), "8081") != 1 {
		t.Errorf("the same port on two targets: %v\n%s", err, b.String())
	}
}
