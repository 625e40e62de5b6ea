package check

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/internal/testbed"
	"github.com/org/portcheck/port"
)

// An address that can be bound, and where callers don't reach the app, has a notice. The
// status is that of the bind.
func TestAddressesThatCallersDontReach(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	for _, line := range []string{
		"link add eth7 type veth peer name eth8", "link set eth8 up", "link set eth7 up",
		"addr add 10.7.0.1/24 brd + dev eth7", "addr add 2001:db8:7::1/64 dev eth7 nodad",
		"route add local 10.9.0.0/16 dev lo", "-6 route add local 2001:db8:9::/64 dev lo",
		// Of this address the usual tables say that another machine has it, as of one in a VRF.
		"addr add 10.8.0.1/24 dev eth7", "rule add pref 2 lookup local", "rule del pref 0", "rule add pref 1 lookup 100", "route add 10.8.0.1/32 dev eth7 table 100",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			testbed.Missing(t, "ip "+line+": "+string(out))
		}
	}
	const (
		absent  = "this host does not have 10.7.0.9 now, and lets the app bind it because net.ipv4.ip_nonlocal_bind is 1: callers don't reach the app there until the host gets the address"
		absent6 = "this host does not have 2001:db8:7::9 now, and lets the app bind it because net.ipv6.ip_nonlocal_bind is 1: callers don't reach"
		group   = "TCP can't connect to a broadcast or multicast address, so no caller reaches the app at "
	)
	compare := func(when string, cases map[port.Address][2]string) { // the status of both protocols, or the notice of TCP, and of UDP
		for address, want := range cases {
			r := run(t, []Need{needOf("a.yml", "x", on(address), tcpAndUDP), needOf("a.yml", "y", on(address), listening)}, Options{}, targetOf("local", host.Local{}))
			for i, x := range r.Results[:2] {
				got := string(x.Status)
				if len(x.Notices) > 0 && x.Status == Free && x.OK {
					got = x.Notices[0].Message
				}
				if !strings.HasPrefix(got, want[i]) || len(x.Notices) > 0 && (x.Notices[0].Code != config.NoCallers || len(x.Notices) > 1) {
					t.Errorf("%s, %s: %s %+v, want %s", when, x.ID, x.Status, x.Notices, want[i])
				}
			}
			if x := r.Results[2]; x.Status != NotListening || len(x.Notices) > 0 {
				t.Errorf("%s, %s: %s %+v", when, x.ID, x.Status, x.Notices)
			}
		}
	}
	free := [2]string{"free", "free"}
	everywhere := map[port.Address][2]string{
		port.Any: free, port.Loopback: free, "10.7.0.1": free, "2001:db8:7::1": free, "10.8.0.1": free, "10.9.1.1": free, "127.9.9.9": free,
		"10.7.0.255": {group + "10.7.0.255", "free"}, "127.255.255.255": {group, "free"}, "255.255.255.255": {group, "free"}, "224.0.0.1": {group, "free"},
	}
	compare("usual", everywhere)
	compare("usual", map[port.Address][2]string{"10.7.0.9": {"unavailable", "unavailable"}, "2001:db8:7::9": {"unavailable", "unavailable"}})
	for _, family := range []string{"ipv4", "ipv6"} {
		if err := os.WriteFile("/proc/sys/net/"+family+"/ip_nonlocal_bind", []byte("1"), 0o644); err != nil {
			testbed.Missing(t, err.Error())
		}
	}
	compare("nonlocal", everywhere)
	compare("nonlocal", map[port.Address][2]string{"10.7.0.9": {absent, absent}, "2001:db8:7::9": {absent6, absent6}, "2001:db8:9::1": free, "192.0.2.1": {"this host does not have 192.0.2.1", "this host"}})
}
