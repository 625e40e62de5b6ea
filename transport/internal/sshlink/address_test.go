package sshlink

import (
	"net/netip"
	"strings"
	"testing"
)

func TestRefusedAddresses(t *testing.T) {
	for _, a := range []string{
		"127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "::1", "fd00::1", "2001:db8::1",
		"::ffff:10.0.0.1", "64:ff9b::a00:1", "192.0.0.191", "169.253.0.1",
	} {
		if err := control(t.Context(), "tcp", netip.AddrPortFrom(netip.MustParseAddr(a), 22).String(), nil); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	for a, want := range map[string]string{
		"169.254.169.254":        "metadata",
		"169.254.1.1":            "link-local",
		"fd00:ec2::254":          "metadata",
		"100.100.100.200":        "metadata",
		"168.63.129.16":          "metadata",
		"192.0.0.192":            "metadata",
		"fe80::1":                "link-local",
		"fe80::1%eth0":           "link-local",
		"febf::1":                "link-local",
		"224.0.0.1":              "multicast",
		"ff02::1":                "multicast",
		"::ffff:169.254.169.254": "metadata",
		"::ffff:169.254.0.1":     "link-local",
		"64:ff9b::a9fe:a9fe":     "metadata",
		"64:ff9b::e000:1":        "multicast",
	} {
		err := checkAddress(netip.MustParseAddr(a))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), a) {
			t.Errorf("%s: %v; want %s", a, err, want)
		}
	}
}
