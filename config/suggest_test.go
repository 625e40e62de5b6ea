package config

import (
	"strings"
	"testing"
)

func TestDidYouMean(t *testing.T) {
	keys := []string{"name", "port", "protocol", "reuse_address", "tcp", "listening"}
	for word, want := range map[string]string{
		"prot": "port", "ports": "port", "Port": "port", "nmae": "name", "proto": "protocol", "reuse-address": "reuse_address",
		"tpc": "tcp", "TCP": "tcp", "listen": "listening", "": "", "xyz": "", "zz": "", "host": "",
		strings.Repeat("p", 5_000): "",
	} {
		told := ""
		if want != "" {
			told = `did you mean "` + want + `"?`
		}
		if got := DidYouMean(word, keys); got != told {
			t.Errorf("%.20s: got %q, want %q", word, got, told)
		}
	}
	if got := DidYouMean("port", nil); got != "" {
		t.Errorf("nothing allowed: got %q", got)
	}
}

func TestMessagesAreOneHarmlessLine(t *testing.T) {
	for _, text := range []string{
		"a\nb", "::error::x", "##[add-mask]80", "\x1b[31m", "a\u202eb", "\u2066", strings.Repeat("x", 4096), "\xff\xfe", "###[[", "\u0085",
		strings.Repeat("\u00fc", 4096),
	} {
		for _, k := range []kind{badVersion, yamlPanic} {
			arg := text
			if k == badVersion {
				arg = quote(text)
			}
			checkProblem(t, newProblem(Position{"f", 1, 1}, k, clip(arg, 3*quoteMax)).Problem, nil)
		}
	}
	if got, want := quote(strings.Repeat("x", 41)), `"`+strings.Repeat("x", 40)+`..."`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
