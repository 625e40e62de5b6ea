package host

import "testing"

func TestParseMayBindLow(t *testing.T) {
	for text, want := range map[string]bool{
		"Name:\tcat\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000400\n": true,
		"CapEff:\t000001ffffffffff\n":                                        true,
		"CapEff:\tffffffffffffffff\n":                                        true,
		"CapEff:\t0000000000000000\n":                                        false,
		"CapEff:\tfffffffffffffbff\nCapBnd:\tffffffffffffffff\n":             false,
		"CapEff:\t0000000000000800\n":                                        false,
		"CapEff:\t0000000000000200":                                          false,
	} {
		if got, err := parseMayBindLow([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %t, %v; want %t", text, got, err, want)
		}
	}
	for _, text := range []string{"", "CapEff:\n", "CapEff:\tx\n", "CapEff:\t-1\n", "CapEff:\t1ffffffffffffffff\n", "CapEff:\t400 400\n", "CapBnd:\t400\n", "xCapEff:\t400\n"} {
		if got, err := parseMayBindLow([]byte(text)); err == nil || got {
			t.Errorf("%q: no error, but %t", text, got)
		}
	}
}
