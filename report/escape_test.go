package report

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSafe(t *testing.T) {
	for in, want := range map[string]string{
		"nginx":                   "nginx",
		"ngïnx 日本":                "ngïnx 日本",
		`C:\Programs\x.exe`:       `C:\Programs\x.exe`,
		"a\nb\rc\td":              `a\nb\rc\td`,
		"\x1b[31m\x00\x7f":        `\x1b[31m\x00\x7f`,
		"a\u202eb\u200bc":         `a\u202eb\u200bc`,
		"a\u00a0b\u2028c\ufeff":   `a\u00a0b\u2028c\ufeff`,
		"\U000e0041":              `\U000e0041`,
		"\u0080\uffff":            `\u0080\uffff`,
		"\xff\xc3(":               `\xff\xc3(`,
		"\ufffd":                  "\ufffd",
		"nginx\u3164\u034f\uffa0": `nginx\u3164\u034f\uffa0`,
		"⚠\ufe0f e\u0301":         "⚠\ufe0f e\u0301",
		"##[add-mask]80":          `#\x23[add-mask]80`,
		"###[x]":                  `#\x23#[x]`,
		"::error::x":              `:\x3aerror::x`,
		"  ::error::x":            `  :\x3aerror::x`,
		"[::1]:80 a::b":           "[::1]:80 a::b",
		"a`reboot`b":              "a'reboot'b",
	} {
		if got := Safe(in); got != want {
			t.Errorf("Safe(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestSafeCuts(t *testing.T) {
	if in := strings.Repeat("é", nameLimit); Safe(in) != in {
		t.Errorf("%d characters were cut", nameLimit)
	}
	if got, want := Safe(strings.Repeat("é", nameLimit+1)), strings.Repeat("é", nameLimit-3)+"..."; got != want {
		t.Errorf("%d characters become %s", nameLimit+1, got)
	}
	got := Safe(strings.Repeat("é", nameLimit-4) + "\u202e\u202e")
	if want := strings.Repeat("é", nameLimit-4) + "..."; got != want {
		t.Errorf("an escape is cut in two: %s", got)
	}
}

// A report may hold 1,500 characters of a message, and no limit for file names.
func TestLimitsOfTexts(t *testing.T) {
	long := strings.Repeat("é", 5000)
	if got := sentence(long); utf8.RuneCountInString(got) != 1500 {
		t.Errorf("a message has %d characters", utf8.RuneCountInString(got))
	}
	if got := escape(long, unlimited); got != long {
		t.Errorf("without a limit, %d characters are left", utf8.RuneCountInString(got))
	}
}

func FuzzSafe(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Safe(s)
		checkInert(t, "Safe", got)
		if strings.Contains(got, "\n") || utf8.RuneCountInString(got) > nameLimit {
			t.Errorf("Safe(%q) = %q", s, got)
		}
		if again := Safe(got); again != got {
			t.Errorf("Safe is not stable: %q, then %q", got, again)
		}
	})
}
