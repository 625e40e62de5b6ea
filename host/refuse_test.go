package host

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestCheckAddress(t *testing.T) {
	for _, a := range []string{
		"127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "::1", "::", "fd00::1", "2001:db8::1",
		"192.0.0.191", "169.253.0.1", "100.100.100.201", "fd00:ec2::253", "fd20:ce::253", "fec0::1",
		// These hold an address that is not refused.
		"::ffff:10.0.0.1", "::10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:a00:1::1", "2001:0:a00:1::1", "fd00::5efe:a00:1",
		// These look as if they held one.
		"64:ff9b:2::a9fe:a9fe", "2003:a9fe:a9fe::1", "2001:db8::a9fe:a9fe", "64:ff9b::643f:8110", "fd00::5eff:a9fe:a9fe",
	} {
		if err := CheckAddress(netip.MustParseAddr(a)); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	for a, want := range map[string]string{
		"169.254.169.254":                      metadata,
		"169.254.170.2":                        metadata,
		"169.254.170.23":                       metadata,
		"169.254.42.42":                        metadata,
		"169.254.1.1":                          linkLocal,
		"168.63.129.16":                        metadata,
		"100.100.100.200":                      metadata,
		"192.0.0.192":                          metadata,
		"fd00:ec2::254":                        metadata,
		"fd00:ec2::23":                         metadata,
		"fd20:ce::254":                         metadata,
		"fd00:42::42":                          metadata,
		"fd00:c1::a9fe:a9fe":                   metadata,
		"fd00:100::100:200":                    metadata,
		"fd00:a9fe:a9fe::1":                    metadata,
		"fe80::a9fe:a9fe":                      metadata,
		"fe80::a9fe:a9fe%1":                    metadata,
		"fd00:ec2::254%eth0":                   metadata,
		"fe80::1":                              linkLocal,
		"fe80::1%eth0":                         linkLocal,
		"febf::1":                              linkLocal,
		"224.0.0.1":                            multicast,
		"239.255.255.255":                      multicast,
		"ff02::1":                              multicast,
		"ff02::1%eth0":                         multicast,
		"::a9fe:a9fe":                          metadata, // IPv4-compatible
		"::a9fe:a9fe%eth0":                     metadata, // with a zone
		"::ffff:0:a9fe:a9fe":                   metadata, // IPv4-translated
		"64:ff9b::a9fe:a9fe":                   metadata, // NAT64
		"64:ff9b::a9fe:101":                    linkLocal,
		"64:ff9b::a83f:8110":                   metadata, // 168.63.129.16
		"64:ff9b::e000:1":                      multicast,
		"64:ff9b:1::a9fe:a9fe":                 metadata, // NAT64 with a prefix of 96 bits
		"64:ff9b:1:2:3:4:a9fe:a9fe":            metadata,
		"64:ff9b:1:1234:a9:fea9:fe00:0":        metadata, // of 64
		"64:ff9b:1:12a9:fe:a9fe::":             metadata, // of 56
		"64:ff9b:1:a9fe:a9:fe00::":             metadata, // of 48
		"2002:a9fe:a9fe::1":                    metadata, // 6to4
		"2002:6464:64c8:1234::9":               metadata,
		"2001:0:a9fe:a9fe::":                   metadata, // Teredo, server
		"2001:0:4136:e378:8000:63bf:5601:5601": metadata, // Teredo, client
		"2001:db8::5efe:a9fe:a9fe":             metadata, // ISATAP
		"2001:db8::200:5efe:a9fe:a9fe":         metadata,
	} {
		err := CheckAddress(netip.MustParseAddr(a))
		var refused *RefusedAddressError
		if !errors.As(err, &refused) || refused.Reason != want || !strings.HasPrefix(err.Error(), a+" is refused: ") {
			t.Errorf("%s: %v; want %s", a, err, want)
		}
	}
	for a, want := range map[string]string{"::ffff:169.254.169.254": metadata, "::ffff:169.254.0.1": linkLocal, "::ffff:a9fe:a9fe%eth0": metadata} {
		if err := CheckAddress(netip.MustParseAddr(a)); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v; want %s", a, err, want)
		}
	}
	for _, r := range refusals {
		if p, err := netip.ParsePrefix(r.prefix); err != nil || p != p.Masked() || CheckAddress(p.Addr()) == nil {
			t.Errorf("%s: %v", r.prefix, err)
		}
	}
}
