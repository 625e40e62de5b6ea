//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/org/portcheck/internal/testbed"
	"golang.org/x/sys/unix"
)

// ruleServices is how many services with NodePorts there are, with five rules each.
const ruleServices = 1000

// writeRules writes rules as kube-proxy does for iptables.
func writeRules() error {
	for _, words := range [][]string{
		{"ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer0"},
		{"ip", "addr", "add", "192.0.2.1/24", "dev", "eth0"},
		{"ip", "link", "set", "eth0", "up"},
		{"ip", "link", "set", "peer0", "up"},
		{"iptables-nft-restore"},
	} {
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Stdin = strings.NewReader(testbed.KubeProxyRules(ruleServices, 30000))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(words, " "), err, out)
		}
	}
	return nil
}

// beRulesDump prints how long one bare dump of all rules of nf_tables takes.
func beRulesDump() error {
	start := time.Now()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request := make([]byte, unix.NLMSG_HDRLEN+4)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buffer := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if err != nil {
			return err
		}
		for rest := buffer[:n]; len(rest) >= unix.NLMSG_HDRLEN; {
			switch size := int(binary.NativeEndian.Uint32(rest)); {
			case size < unix.NLMSG_HDRLEN || size > len(rest):
				return errors.New("a broken answer")
			case binary.NativeEndian.Uint16(rest[4:]) == unix.NLMSG_DONE:
				fmt.Println(time.Since(start))
				return nil
			default:
				rest = rest[min((size+3)&^3, len(rest)):]
			}
		}
	}
}
