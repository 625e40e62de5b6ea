package nat

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// TestManyRules reads 62,500 rules for 100 questions: 12,500 services as kube-proxy
// writes them.
func TestManyRules(t *testing.T) {
	testbed.Slow(t, "writes many rules")
	if !testbed.Isolated(t) {
		return
	}
	testbed.NeedRoot(t)
	needs(t, "iptables-nft-restore")
	run(t, testbed.KubeProxyRules(12_500, 20000), "iptables-nft-restore")
	var questions []Question
	for i := range 100 {
		questions = append(questions, Question{Protocol: port.TCP, Addr: netip.IPv4Unspecified(), Port: uint16(19950 + i)})
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	answers, err := Read(context.Background(), questions)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s, %d bytes allocated, heap from %d to %d", took, after.TotalAlloc-before.TotalAlloc, before.HeapSys, after.HeapSys)
	for i, a := range answers {
		if (len(a) == 0) != (i < 50) {
			t.Errorf("port %d: %+v", questions[i].Port, a)
		}
		for _, r := range a {
			n := int(questions[i].Port) - 20000
			if want := fmt.Sprintf("10.9.%d.%d:8080", n>>8, n&255); !r.All || r.To[0].String() != want || r.Rule.Comment != fmt.Sprintf("ns/svc%d", n) {
				t.Errorf("port %d: %+v", questions[i].Port, r)
			}
		}
	}
}
