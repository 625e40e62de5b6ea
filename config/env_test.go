package config

import "testing"

func TestVariableOfANeed(t *testing.T) {
	for name, want := range map[string]string{
		"web": "WEB_PORT", "2nd.media": "P_2ND_MEDIA_PORT", "a-b_c.d": "A_B_C_D_PORT", "8080": "P_8080_PORT",
		"Web-1": "WEB_1_PORT", "é": "__PORT", "": "_PORT",
	} {
		if got := DefaultEnv(name); got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
		if got := (Port{Name: name}).Variable(); got != want {
			t.Errorf("%q: the need has %s, want %s", name, got, want)
		}
		if got := (Port{Name: name, Env: "OWN"}).Variable(); got != "OWN" {
			t.Errorf("%q: got %s, want the need's own variable", name, got)
		}
	}
}
