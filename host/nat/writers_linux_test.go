package nat

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// TestRulesOfPrograms loads what programs wrote (testdata/README.md).
func TestRulesOfPrograms(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	needs(t, "nft", "iptables-nft-restore", "iptables-legacy-restore")
	newWorld(t)
	for _, c := range []struct {
		file    string
		tcp     string // where TCP port 8080 ends
		udp     string // where UDP port 8081 of 10.1.0.1 ends
		comment string
		narrow  bool // 10.1.0.1 alone
		part    bool // not for local callers of loopback
	}{
		{"docker.iptables", "172.17.0.2:80", "172.17.0.2:53", "", false, true},
		{"netavark.iptables", "10.88.0.2:80", "10.88.0.2:53", "dnat name: podman id: 6ce776ea58b5", false, false},
		{"cni-portmap.iptables", "10.88.0.5:80", "10.88.0.5:53", `dnat name: "mynet" id: "cafe0123456789"`, false, false},
		{"kube-proxy.iptables", "10.244.0.5:80 10.244.0.6:80", "10.244.0.7:53", "default/web:http", false, false},
		{"kube-proxy.nft", "10.244.0.5:80 10.244.0.6:80", "10.244.0.7:53", "", true, true},
	} {
		tools := []string{"iptables-nft-restore", "iptables-legacy-restore"}
		if strings.HasSuffix(c.file, ".nft") {
			tools = []string{"nft -f -"}
		}
		for _, tool := range tools {
			t.Run(c.file+" "+tool, func(t *testing.T) {
				clearRules(t)
				text, err := os.ReadFile("testdata/" + c.file)
				if err != nil {
					t.Fatal(err)
				}
				run(t, string(text), strings.Fields(tool)...)
				answers, err := Read(context.Background(), []Question{
					{port.TCP, netip.IPv4Unspecified(), 8080, ""},
					{port.UDP, netip.IPv4Unspecified(), 8081, ""},
					{port.TCP, netip.IPv4Unspecified(), 8081, ""},
					{port.TCP, netip.IPv6Unspecified(), 8080, ""},
					{port.TCP, netip.IPv4Unspecified(), 80, ""},
				})
				if err != nil {
					t.Fatal(err)
				}
				tcp := map[string]string{}
				for _, a := range []string{"10.1.0.1", "10.1.0.9", "10.2.0.1", "127.0.0.1"} {
					if c.narrow && a != "10.1.0.1" {
						continue
					}
					for _, in := range []string{"wan", "lan", ""} {
						if a != "127.0.0.1" || in == "" && !c.part {
							tcp[in+" "+a] = c.tcp
						}
					}
				}
				udp := map[string]string{"wan 10.1.0.1": c.udp, "lan 10.1.0.1": c.udp, " 10.1.0.1": c.udp}
				for i, want := range []map[string]string{tcp, udp, {}, {}, {}} {
					got := map[string]string{}
					for _, r := range answers[i] {
						got[r.Interface+" "+r.Addr.String()] = strings.Trim(fmt.Sprint(r.To), "[]")
						if !r.All {
							t.Errorf("not all: %+v", r)
						}
						if i == 0 && r.Rule.Comment != c.comment {
							t.Errorf("comment %q", r.Rule.Comment)
						}
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("question %d: %s", i, diff)
					}
				}
			})
		}
	}
}
