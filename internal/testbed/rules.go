//go:build linux

package testbed

import (
	"fmt"
	"strings"
)

// KubeProxyRules returns the text for iptables-restore of services whose NodePorts start
// at a port, in the form of kube-proxy: five rules for each.
func KubeProxyRules(services, first int) string {
	var b strings.Builder
	b.WriteString("*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n")
	for i := range services {
		fmt.Fprintf(&b, ":KUBE-SVC-%d - [0:0]\n:KUBE-SEP-%d - [0:0]\n", i, i)
	}
	b.WriteString("-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n")
	for i := range services {
		fmt.Fprintf(&b, "-A KUBE-SERVICES -d 172.20.%d.%d/32 -p tcp -m comment --comment \"ns/svc%d\" -m tcp --dport 80 -j KUBE-SVC-%d\n", i>>8, i&255, i, i)
		fmt.Fprintf(&b, "-A KUBE-NODEPORTS -p tcp -m comment --comment \"ns/svc%d\" -m tcp --dport %d -j KUBE-SVC-%d\n", i, first+i, i)
		fmt.Fprintf(&b, "-A KUBE-SVC-%d -m comment --comment \"ns/svc%d\" -j KUBE-SEP-%d\n", i, i, i)
		fmt.Fprintf(&b, "-A KUBE-SEP-%d -s 10.9.%d.%d/32 -j MARK --or-mark 0x4000\n", i, i>>8, i&255)
		fmt.Fprintf(&b, "-A KUBE-SEP-%d -p tcp -m tcp -j DNAT --to-destination 10.9.%d.%d:8080\n", i, i>>8, i&255)
	}
	b.WriteString("-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT\n")
	return b.String()
}
