package host

import "testing"

func TestNamesOfWindows(t *testing.T) {
	for in, want := range map[string]string{"connectex": "connect", "wsasocket": "socket", "connect": "connect", "bind": "bind"} {
		if got := opName(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for in, want := range map[int]string{1332: "ERROR_NONE_MAPPED", 5: "ERROR_ACCESS_DENIED", 10099: "WSA error 10099", 4000: "Windows error 4000"} {
		if got := windowsErrorName(in); got != want {
			t.Errorf("%d: %s, want %s", in, got, want)
		}
	}
}
