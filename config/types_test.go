package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/port"
)

func TestBinding(t *testing.T) {
	yes, no := true, false
	addresses := []port.Address{port.Loopback}
	for _, c := range []struct {
		reuseAddress *bool
		protocol     port.Protocol
		want         bool
	}{
		{nil, port.TCP, true},
		{nil, port.UDP, false},
		{&yes, port.TCP, true},
		{&yes, port.UDP, true},
		{&no, port.TCP, false},
		{&no, port.UDP, false},
	} {
		for _, reusePort := range []bool{false, true} {
			got := Port{Addresses: addresses, ReuseAddress: c.reuseAddress, ReusePort: reusePort}.Binding(c.protocol)
			want := port.Binding{Protocol: c.protocol, Addresses: addresses, ReuseAddress: c.want, ReusePort: reusePort}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%+v: -want +got:\n%s", c, diff)
			}
		}
	}
}

func TestPositionAndProblemAsText(t *testing.T) {
	for want, got := range map[string]string{
		"portcheck.yml:6:11":      Position{"portcheck.yml", 6, 11}.String(),
		"--port":                  Position{File: "--port"}.String(),
		"portcheck.yml:6:11: why": Problem{Position{"portcheck.yml", 6, 11}, "why"}.Error(),
		"--port: why":             Problem{Position{File: "--port"}, "why"}.Error(),
		"why":                     Problem{Message: "why"}.Error(),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSources(t *testing.T) {
	want := []string{"portcheck.yml", "portcheck.yaml", ".portcheck.yml", ".portcheck.yaml", ".github/portcheck.yml"}
	if diff := cmp.Diff(want, FileNames()); diff != "" {
		t.Errorf("file names, -want +got:\n%s", diff)
	}
	names := map[string]bool{}
	for _, s := range sources {
		if names[s.name] {
			t.Errorf("two sources have the name %s", s.name)
		}
		names[s.name] = true
	}
	if last := sources[len(sources)-1]; !last.detect("any name", nil) {
		t.Errorf("the last source, %s, does not read every file", last.name)
	}
}
