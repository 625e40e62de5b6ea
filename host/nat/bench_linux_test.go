package nat

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
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
	const services = 12_500
	var b strings.Builder
	b.WriteString("*nat\n:S - [0:0]\n:N - [0:0]\n")
	for i := range services {
		fmt.Fprintf(&b, ":SVC%d - [0:0]\n:SEP%d - [0:0]\n", i, i)
	}
	b.WriteString("-A PREROUTING -j S\n-A OUTPUT -j S\n")
	for i := range services {
		fmt.Fprintf(&b, "-A S -d 172.20.%d.%d/32 -p tcp -m comment --comment \"ns/svc%d\" -m tcp --dport 80 -j SVC%d\n", i>>8, i&255, i, i)
		fmt.Fprintf(&b, "-A N -p tcp -m comment --comment \"ns/svc%d\" -m tcp --dport %d -j SVC%d\n", i, 20000+i, i)
		fmt.Fprintf(&b, "-A SVC%d -m comment --comment \"ns/svc%d\" -j SEP%d\n", i, i, i)
		fmt.Fprintf(&b, "-A SEP%d -s 10.9.%d.%d/32 -j MARK --or-mark 0x4000\n", i, i>>8, i&255)
		fmt.Fprintf(&b, "-A SEP%d -p tcp -m tcp -j DNAT --to-destination 10.9.%d.%d:8080\n", i, i>>8, i&255)
	}
	b.WriteString("-A S -m addrtype --dst-type LOCAL -j N\nCOMMIT\n")
	run(t, b.String(), "iptables-nft-restore")
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
