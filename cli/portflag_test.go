package cli

import "testing"

// TestHabits holds what becomes of forms that other programs take: "=" for a form that is
// taken, else the one that is suggested.
func TestHabits(t *testing.T) {
	for spec, want := range map[string]string{
		"*:8080": "=", ":8080": "=", "0.0.0.0:8080": "=", "[::]:8080": "=", "localhost:8080": "=", "80,443": "=", "9999,8080/udp": "=",
		"8080:80": "8080", "127.0.0.1:8080:80": "127.0.0.1:8080", "8080:80/udp": "8080/udp", "[::1]:8080:80": "[::1]:8080",
		"8000-8003:80-83": "8000-8003",
		"http":            "80", "https/tcp": "443/tcp", "domain/udp": "53/udp",
		"tcp/8080": "8080/tcp", "TCP:8080": "8080/tcp", "8080-tcp": "8080/tcp", "8080_udp": "8080/udp", "udp 53": "53/udp",
		"8080..8090": "8080-8090", "8080 9090": "8080,9090", "80;443": "80,443", "80, 443": "=", "http://localhost:8080/x": "localhost:8080",
		"99999": "", "0": "", "8080/http": "", "::1:80": "", "no-such-service": "", "192.0.2.300:80": "", "8080:": "8080", "8080:99999": "8080", "80:99999/udp": "80/udp", "99999:80": "", "-": "", "": "",
		"http://http://x": "", "\x00": "",
	} {
		got := "="
		if !isPort(spec) {
			got = respelled(spec)
		}
		if got != want {
			t.Errorf("--port %q: %q, want %q", spec, got, want)
		}
	}
}
