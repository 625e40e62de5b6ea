package host

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestParseLocalIPv4(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string // nil: an error
	}{
		"addresses and a prefix": {
			"Main:\n  +-- 0.0.0.0/0 3 0 4\n     |-- 198.51.100.7\n        /32 host LOCAL\n" +
				"Local:\n  +-- 0.0.0.0/0 3 0 4\n     |-- 192.0.2.5\n        /32 host LOCAL\n     |-- 127.0.0.0\n        /8 host LOCAL\n        /31 link UNICAST\n     |-- 192.0.2.255\n        /32 link BROADCAST\n",
			[]string{"192.0.2.5/32", "127.0.0.0/8", "192.0.2.255/32"},
		},
		"Main behind Local":         {"Local:\n  |-- 192.0.2.5\n     /32 host LOCAL\nMain:\n  |-- 198.51.100.7\n     /32 host LOCAL\n", []string{"192.0.2.5/32"}},
		"Local behind other tables": {"Id 100:\n  |-- 198.51.100.8\n     /32 host LOCAL\nLocal:\n  |-- 192.0.2.5\n     /0 host LOCAL\n", []string{"192.0.2.5/0"}},
		"no address":                {"Local:\n", []string{}},
		"short lines":               {"Local:\n\nx\n  |-- 192.0.2.5\n     /32\n     /32 host\n     /32 host LOCAL\n     /32 host LOCAL tos 16\n", []string{"192.0.2.5/32"}},
		"a line of another kind":    {"Local:\n  |-- 192.0.2.5\n     /32 host UNICAST\n", []string{}},
		"nothing":                   {"", nil},
		"no local table":            {"Main:\n  |-- 192.0.2.5\n     /32 host LOCAL\n", nil},
		"not an address":            {"Local:\n  |-- 192.0.2\n     /32 host LOCAL\n", nil},
		"an IPv6 address":           {"Local:\n  |-- ::1\n     /32 host LOCAL\n", nil},
		"not a prefix":              {"Local:\n  |-- 192.0.2.5\n     /x host LOCAL\n", nil},
		"a negative prefix":         {"Local:\n  |-- 192.0.2.5\n     /-1 host LOCAL\n", nil},
		"too long a prefix":         {"Local:\n  |-- 192.0.2.5\n     /33 host LOCAL\n", nil},
		"a prefix without address":  {"Local:\n     /32 host LOCAL\n", nil},
		"an endless line":           {"Local:\n  |-- 192.0.2.5\n     /32 host LOCAL\n" + strings.Repeat("x", 1<<17), nil},
		"an endless first line":     {strings.Repeat("x", 1<<17), nil},
	} {
		got, err := parseLocalIPv4([]byte(c.text))
		if (err != nil) != (c.want == nil) || err == nil && !slices.Equal(textsOf(got), c.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, c.want)
		}
	}
}

func textsOf[T fmt.Stringer](all []T) []string {
	texts := []string{}
	for _, v := range all {
		texts = append(texts, v.String())
	}
	return texts
}

func TestParseIPv6Addresses(t *testing.T) {
	const line = "20010db8000000000000000000000001 0a 40 00 80     eth0\n"
	with := func(from, to string) string { return strings.Replace(line, from, to, 1) }
	got, err := parseIPv6Addresses([]byte(line + with("0001 0a 40 00 80", "0002 0b 40 00 c0") + with("0001 0a 40 00 80", "0003 0c 40 00 44") + with("0001 0a 40 00 80", "0004 0d 40 00 04") + with("0001 0a 40 00 80", "0005 0e 40 00 01")))
	want := []ipv6Address{
		{netip.MustParseAddr("2001:db8::1"), "eth0", 10, true},
		{netip.MustParseAddr("2001:db8::2"), "eth0", 11, false}, // tentative
		{netip.MustParseAddr("2001:db8::3"), "eth0", 12, true},  // tentative and optimistic
		{netip.MustParseAddr("2001:db8::4"), "eth0", 13, true},
		{netip.MustParseAddr("2001:db8::5"), "eth0", 14, true}, // temporary
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if got, err := parseIPv6Addresses(nil); err != nil || len(got) > 0 {
		t.Errorf("no address: %+v, %v", got, err)
	}
	for name, text := range map[string]string{
		"an empty line": "\n", "five fields": with(" eth0", ""), "seven fields": with("eth0", "eth0 x"),
		"a short address": with("2001", "01"), "a long address": with("2001", "002001"), "not hexadecimal": with("2001", "200g"),
		"index": with(" 0a", " 0g"), "a large index": with(" 0a", " 100000000"), "flags": with(" 80", " x"),
		"large flags": with(" 80", " 100000000"),
	} {
		if got, err := parseIPv6Addresses([]byte(line + text)); err == nil {
			t.Errorf("%s: no error, but %+v", name, got)
		}
	}
}
