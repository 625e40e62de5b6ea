package nat

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/org/portcheck/internal/testbed"
)

// inMachine is set in the virtual machines of .ci/kernels, where the kernel has IPVS.
const inMachine = "PORTCHECK_TEST_IN_MACHINE"

// TestIPVS compares answers about virtual services with what real callers reach. Only
// .ci/kernels runs it: most kernels of test machines have no IPVS.
func TestIPVS(t *testing.T) {
	if os.Getenv(inMachine) == "" {
		t.Log("runs in .ci/kernels alone")
		return
	}
	if !testbed.Isolated(t) {
		return
	}
	needs(t, "nft", "iptables-nft", "ipvsadm")
	w := newWorld(t)
	if out, err := exec.Command("ipvsadm", "-L").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range []struct {
		name    string
		shell   string
		vague   bool
		wantAll bool
		drops   bool
	}{
		{name: "nothing", shell: "true"},
		{name: "another machine", shell: "ipvsadm -A -t 10.1.0.1:8080 -s rr\nipvsadm -a -t 10.1.0.1:8080 -r 10.2.0.2:9090 -m", wantAll: true},
		{name: "UDP", shell: "ipvsadm -A -u 10.1.0.1:8080 -s rr\nipvsadm -a -u 10.1.0.1:8080 -r 10.2.0.2:8080 -m", wantAll: true},
		{name: "two servers", shell: "ipvsadm -A -t 10.1.0.1:8080 -s rr\nipvsadm -a -t 10.1.0.1:8080 -r 10.2.0.2:9090 -m\nipvsadm -a -t 10.1.0.1:8080 -r 10.2.0.3:9091 -m", wantAll: true},
		{name: "no server", shell: "ipvsadm -A -t 10.1.0.1:8080 -s rr", wantAll: true, drops: true},
		{name: "a server of weight 0", shell: "ipvsadm -A -t 10.1.0.1:8080 -s rr\nipvsadm -a -t 10.1.0.1:8080 -r 10.2.0.2:9090 -m\nipvsadm -a -t 10.1.0.1:8080 -r 10.1.0.1:8080 -m -w 0", wantAll: true},
		{name: "itself", shell: "ipvsadm -A -t 10.1.0.1:8080 -s rr\nipvsadm -a -t 10.1.0.1:8080 -r 10.1.0.1:8080 -g"},
		{name: "another port of itself", shell: "ipvsadm -A -t 10.1.0.1:8080 -s rr\nipvsadm -a -t 10.1.0.1:8080 -r 10.1.0.1:9090 -m", wantAll: true},
		{name: "itself or another", shell: "ipvsadm -A -t 10.1.0.1:8080 -s rr\nipvsadm -a -t 10.1.0.1:8080 -r 10.1.0.1:8080 -m\nipvsadm -a -t 10.1.0.1:8080 -r 10.2.0.2:9090 -m", vague: true},
		{name: "every port", shell: "ipvsadm -A -t 10.1.0.1:0 -s rr -p 60\nipvsadm -a -t 10.1.0.1:0 -r 10.2.0.2:0 -m", vague: true},
		{name: "a mark", shell: "ipvsadm -A -f 7 -s rr\nipvsadm -a -f 7 -r 10.2.0.2:9090 -m\niptables-nft -t mangle -A PREROUTING -d 10.1.0.1 -p tcp --dport 8080 -j MARK --set-mark 7", wantAll: true},
		{name: "another address", shell: "ipvsadm -A -t 10.9.9.9:8080 -s rr\nipvsadm -a -t 10.9.9.9:8080 -r 10.2.0.2:9090 -m"},
		{name: "behind NAT", shell: "ipvsadm -A -t 10.1.0.1:8080 -s rr\nipvsadm -a -t 10.1.0.1:8080 -r 10.2.0.2:9090 -m\niptables-nft -t nat -A PREROUTING -d 10.1.0.1 -p tcp --dport 8080 -j DNAT --to 10.2.0.3:9091", wantAll: true},
		{name: "UDP that is an Ethernet broadcast", shell: "ipvsadm -A -u 10.1.0.1:8080 -s rr\nipvsadm -a -u 10.1.0.1:8080 -r 10.2.0.2:8080 -m\n" +
			"nft 'table ip d { chain pre { type filter hook prerouting priority -300; udp dport 8080 meta pkttype set broadcast; }\n}'", wantAll: true, drops: true},
		{name: "IPv6", shell: "ipvsadm -A -t [fd01::1]:8080 -s rr\nipvsadm -a -t [fd01::1]:8080 -r [fd02::2]:9090 -m", wantAll: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			clearRules(t)
			run(t, "", "ipvsadm", "-C")
			run(t, "", "sh", "-ec", c.shell)
			var j judge
			// IPVS does not serve callers of all kinds without more settings, such as those on
			// the machine or in the network of its server.
			w.check(t, &j, everyQuestion(8080, 8081), true, !c.vague)
			t.Logf("none %d, some %d, all %d, of which %d were answered", j.none, j.some, j.all, j.arrived)
			if len(j.faults) > 0 {
				t.Errorf("%d faults:\n%s", len(j.faults), strings.Join(j.faults[:min(len(j.faults), 10)], "\n"))
			}
			if (j.all > 0) != c.wantAll || c.wantAll && !c.drops && j.arrived == 0 {
				t.Errorf("none %d, some %d, all %d, of which %d were answered", j.none, j.some, j.all, j.arrived)
			}
		})
	}
	run(t, "", "ipvsadm", "-C")
}

// ipvsText is what Linux 6.12 shows.
const ipvsText = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  C0000201:1F90 rr  
  -> 0A020002:2382      Masq    1      0          0         
  -> C0000201:1F90      Local   0      0          0         
UDP  C0000201:0000 wlc persistent 60 FFFFFFFF
  -> 0A020003:0000      Route   1      0          0         
FWM  00000007 rr 
  -> 0A020004:2382      Tunnel  1      0          0         
TCP  [2001:0db8:0000:0000:0000:0000:0000:0001]:1F90 rr 
  -> [fd02:0000:0000:0000:0000:0000:0000:0002]:2382      Masq    1      0          0         
SCTP C0000201:1F90 rr 
  -> 0A020002:2382      Masq    1      0          0         
`

func everyService(virtualService) bool { return true }

func TestDecodeIPVS(t *testing.T) {
	got, err := decodeIPVS([]byte(ipvsText), everyService)
	if err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddr
	want := []virtualService{
		{mark: 7, servers: []realServer{{a("10.2.0.4"), 9090, false, 1}}},
		{protocol: protocolTCP, addr: a("192.0.2.1"), port: 8080, servers: []realServer{{a("10.2.0.2"), 9090, true, 1}, {a("192.0.2.1"), 8080, false, 0}}},
		{protocol: protocolTCP, addr: a("2001:db8::1"), port: 8080, servers: []realServer{{a("fd02::2"), 9090, true, 1}}},
		{protocol: protocolUDP, addr: a("192.0.2.1"), persistent: true, servers: []realServer{{a("10.2.0.3"), 0, false, 1}}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(virtualService{}, realServer{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	for _, broken := range []string{"TCP\n", "TCP 1F90 rr\n", "TCP C00002:1F90 rr\n", "FWM 0 rr\n", "TCP C0000201:1F90 rr\n  -> 0A020002:2382\n", "TCP C0000201:1F90 rr\n  -> 0A020002:2382 Masq x 0 0\n"} {
		if s, err := decodeIPVS([]byte(strings.Repeat("heading\n", 3)+broken), everyService); err == nil {
			t.Errorf("%q: %+v", broken, s)
		}
	}
}

// Virtual services send callers away as they would, as far as the text says.
func TestAnswersOfIPVS(t *testing.T) {
	k := &kernel{ipvs: []byte(ipvsText), filter: newFilter(someQuestions(), someMachine)}
	answers := func() []Answer {
		t.Helper()
		if err := k.addIPVS(); err != nil {
			t.Fatal(err)
		}
		all, err := answer(t.Context(), someQuestions(), k, someMachine)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	got := answers()
	for i, want := range []string{
		"all 10.2.0.2:9090 virtual service tcp 192.0.2.1:8080", "all [fd02::2]:9090 virtual service tcp [2001:db8::1]:8080", "",
		"some 10.2.0.3:8080 virtual service udp 192.0.2.1:*", "", "some 10.2.0.3:8081 virtual service udp 192.0.2.1:*",
	} {
		checkIPVS(t, someQuestions()[i], got[i], want)
	}
	k.ipvs = append([]byte(ipvsPerhaps), ipvsText...)
	checkIPVS(t, someQuestions()[0], answers()[0], "some 10.2.0.2:9090 virtual service tcp 192.0.2.1:8080")
	k.ipvs = bytes.ReplaceAll([]byte(ipvsText), []byte("Local   0"), []byte("Local   1"))
	checkIPVS(t, someQuestions()[0], answers()[0], "some 10.2.0.2:9090 virtual service tcp 192.0.2.1:8080")
	k.ipvs = []byte(strings.Repeat("heading\n", 3) + "TCP  C0000201:1F90 rr\n")
	checkIPVS(t, someQuestions()[0], answers()[0], "all unknown virtual service tcp 192.0.2.1:8080")
	k.ipvs = append(k.ipvs, "  -> C0000201:1F90      Local   1      0          0\n"...)
	checkIPVS(t, someQuestions()[0], answers()[0], "")
}

// IPVS leaves alone what is not for this host.
func TestIPVSLeavesOthersAlone(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.1")
	s := virtualService{protocol: protocolUDP, addr: a, port: 8080, servers: []realServer{{netip.MustParseAddr("10.2.0.2"), 9090, true, 1}}}
	for kind, want := range map[partial]tri{exactly(packetHost): yes, exactly(1): no, exactly(packetOtherhost): no, {}: maybe} {
		w := &walk{call: call{family: familyIPv4, protocol: protocolUDP, addr: a, port: 8080}, machine: someMachine, state: state{kind: kind}}
		if e := s.run(w); e.matched != want {
			t.Errorf("%v: %v, want %v", kind, e.matched, want)
		}
	}
}

// checkIPVS wants an answer for each way to the one address, or none.
func checkIPVS(t *testing.T, q Question, got Answer, want string) {
	t.Helper()
	if want == "" && len(got) != 0 || want != "" && len(got) != 2 {
		t.Errorf("%+v: %+v, want %q", q, got, want)
		return
	}
	for _, r := range got {
		text := map[bool]string{true: "all ", false: "some "}[r.All] + r.To[0].String() + " " + r.Rule.Text
		if text != want || len(r.To) != 1 || r.Rule.Chain != "" || r.Rule.Table != "ipvs" {
			t.Errorf("%+v: %q, want %q: %+v", q, text, want, r)
		}
	}
}

func FuzzIPVS(f *testing.F) {
	f.Add([]byte(ipvsText))
	f.Fuzz(func(t *testing.T, text []byte) {
		k := &kernel{ipvs: text, filter: newFilter(someQuestions(), someMachine)}
		if k.addIPVS() != nil {
			return
		}
		if _, err := answer(t.Context(), someQuestions(), k, someMachine); err != nil {
			t.Fatal(err)
		}
	})
}
