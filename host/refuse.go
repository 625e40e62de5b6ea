package host

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// RefusedAddressError is the error for an address that nothing connects to, such as
// that of a cloud's metadata service, which serves secrets of the machine.
type RefusedAddressError struct {
	Addr   netip.Addr
	Reason string
}

func (e *RefusedAddressError) Error() string {
	return fmt.Sprintf("%s is refused: %s", e.Addr, e.Reason)
}

// ControlDial is a net.Dialer.ControlContext. It is called after name resolution,
// with the address that is about to be dialed.
func ControlDial(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return CheckAddress(ap.Addr())
}

const (
	metadata  = "it is a cloud's metadata service"
	linkLocal = "it is link-local"
	multicast = "it is multicast"
)

// refusals lists the addresses that are refused, with the source of each. The first
// one that matches gives the reason.
var refusals = []struct{ prefix, reason string }{
	{"169.254.169.254/32", metadata},     // most clouds: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
	{"fd00:ec2::254/128", metadata},      // AWS: the same page
	{"169.254.170.2/32", metadata},       // AWS ECS: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
	{"169.254.170.23/32", metadata},      // AWS EKS: https://docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup.html
	{"fd00:ec2::23/128", metadata},       // AWS EKS: the same page
	{"fd20:ce::254/128", metadata},       // Google: https://cloud.google.com/compute/docs/metadata/querying-metadata
	{"168.63.129.16/32", metadata},       // Azure: https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
	{"100.100.100.200/32", metadata},     // Alibaba: https://docs.cloud-init.io/en/latest/reference/datasources/aliyun.html
	{"fd00:100::100:200/128", metadata},  // Alibaba: cloud-init, the tests of cloudinit/sources/DataSourceAliYun.py
	{"192.0.0.192/32", metadata},         // Oracle Cloud at Customer: https://docs.oracle.com/en/cloud/cloud-at-customer/occ-get-started/retrieve-predefined-instance-metadata.html
	{"fd00:c1::a9fe:a9fe/128", metadata}, // Oracle: cloud-init, cloudinit/sources/DataSourceOracle.py
	{"169.254.42.42/32", metadata},       // Scaleway: https://docs.cloud-init.io/en/latest/reference/datasources/scaleway.html
	{"fd00:42::42/128", metadata},        // Scaleway: the same page
	{"fd00:a9fe:a9fe::1/128", metadata},  // Akamai: https://docs.cloud-init.io/en/latest/reference/datasources/akamai.html
	{"fe80::a9fe:a9fe/128", metadata},    // OpenStack, Hetzner: cloud-init, cloudinit/sources/DataSourceOpenStack.py
	{"169.254.0.0/16", linkLocal},        // RFC 3927
	{"fe80::/10", linkLocal},             // RFC 4291, 2.5.6
	{"224.0.0.0/4", multicast},           // RFC 5771
	{"ff00::/8", multicast},              // RFC 4291, 2.7
}

// CheckAddress returns a *RefusedAddressError if addr must not be connected to.
func CheckAddress(addr netip.Addr) error {
	addr = addr.Unmap()
	targets := append(embedded(addr), addr.WithZone(""))
	for _, r := range refusals {
		if slices.ContainsFunc(targets, netip.MustParsePrefix(r.prefix).Contains) {
			return &RefusedAddressError{addr, r.reason}
		}
	}
	return nil
}

// embeddings lists the IPv6 addresses that a router may turn into IPv4 addresses,
// and the bytes that hold these.
var embeddings = []struct {
	prefix string
	bytes  [4]int
}{
	{"::/96", [4]int{12, 13, 14, 15}},           // IPv4-compatible: RFC 4291, 2.5.5.1
	{"::ffff:0:0:0/96", [4]int{12, 13, 14, 15}}, // IPv4-translated: RFC 2765, 2.1
	{"64:ff9b::/96", [4]int{12, 13, 14, 15}},    // NAT64: RFC 6052, 2.1
	// NAT64 with a prefix of any length inside of this one: RFC 8215, 5 and RFC 6052, 2.2.
	{"64:ff9b:1::/48", [4]int{6, 7, 9, 10}},
	{"64:ff9b:1::/48", [4]int{7, 9, 10, 11}},
	{"64:ff9b:1::/48", [4]int{9, 10, 11, 12}},
	{"64:ff9b:1::/48", [4]int{12, 13, 14, 15}},
	{"2002::/16", [4]int{2, 3, 4, 5}}, // 6to4: RFC 3056, 2
	{"2001::/32", [4]int{4, 5, 6, 7}}, // the server of Teredo: RFC 4380, 4
}

// embedded returns the IPv4 addresses that are parts of an IPv6 address.
func embedded(addr netip.Addr) []netip.Addr {
	if !addr.Is6() {
		return nil
	}
	var all []netip.Addr
	b := addr.As16()
	for _, e := range embeddings {
		if netip.MustParsePrefix(e.prefix).Contains(addr.WithZone("")) {
			all = append(all, netip.AddrFrom4([4]byte{b[e.bytes[0]], b[e.bytes[1]], b[e.bytes[2]], b[e.bytes[3]]}))
		}
	}
	if teredo := netip.MustParsePrefix("2001::/32"); teredo.Contains(addr.WithZone("")) { // the client's is inverted: RFC 4380, 4
		all = append(all, netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}))
	}
	if b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe { // ISATAP, with any prefix: RFC 5214, 6.1
		all = append(all, netip.AddrFrom4([4]byte(b[12:])))
	}
	return all
}
