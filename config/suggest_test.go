package config

import (
	"strings"
	"testing"
)

func TestDidYouMean(t *testing.T) {
	longest := strings.Repeat("p", 32) // bytes that are compared
	keys := []string{"name", "port", "protocol", "reuse_address", "tcp", "listening", "host", "ghost", longest, longest + "p"}
	for word, want := range map[string]string{
		"prot": "port", "ports": "port", "Port": "port", "nmae": "name", "proto": "protocol", "reuse-address": "reuse_address",
		"tpc": "tcp", "TCP": "tcp", "listen": "listening", "": "", "xyz": "", "zz": "", "no": "",
		"lis": "listening", "li": "", "ost": "host", "hosts": "host", "gost": "host", // of the most similar ones the first
		longest[1:]: longest, longest[1:] + "x": longest, longest + "p": "", longest + "x": "",
		strings.Repeat("p", 5_000): "",
	} {
		if want != "" {
			want = "did you mean " + quote(want) + "?"
		}
		if got := DidYouMean(word, keys); got != want {
			t.Errorf("%.40s: got %q, want %q", word, got, want)
		}
	}
	if got := DidYouMean("port", nil); got != "" {
		t.Errorf("nothing allowed: got %q", got)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"abc", "abc", 0},
		{"", "abc", 3},
		{"kitten", "sitting", 3},
		{"sunday", "saturday", 3},
		{"ab", "ba", 1},
		{"abcd", "acbd", 1},
		{"abcdef", "badcfe", 3},
		{"ca", "abc", 3}, // no edit between two swapped bytes
		{"aab", "aba", 1},
		{"abab", "baba", 2},
		{"xaby", "yabx", 2},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: got %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("%q to %q: got %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

func TestSimilarity(t *testing.T) {
	for _, c := range []struct {
		word, allowed string
		similar       bool
	}{
		{"ba", "ab", true},
		{"ab", "cd", false},
		{"abcdx", "abcde", true},
		{"abcxy", "abcde", false},
		{"abcdxy", "abcdef", true},
		{"abcxyz", "abcdef", false},
		{"abcdefgh", "abcdef", true},
		{"abcdefxyz", "abcdef", true},
		{"abcdefwxyz", "abcdef", false},
	} {
		if got := DidYouMean(c.word, []string{c.allowed}); (got != "") != c.similar {
			t.Errorf("%s for %s: got %q", c.word, c.allowed, got)
		}
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
	for text, want := range map[string]string{
		strings.Repeat("x", 40):      `"` + strings.Repeat("x", 40) + `"`,
		strings.Repeat("x", 41):      `"` + strings.Repeat("x", 40) + `..."`,
		strings.Repeat("\u00fc", 40): `"` + strings.Repeat(`\u00fc`, 40) + `"`,
	} {
		if got := quote(text); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	got := yamlProblem("a.yml", nil, panicError{strings.Repeat("x", 121)}).Message
	if want := "the YAML library failed on this file (" + strings.Repeat("x", 120) + "...): please report it as a bug of portcheck"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
