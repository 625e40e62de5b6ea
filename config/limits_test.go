package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestLimits checks, for each limit, a manifest that reaches it and one that
// exceeds it by one.
func TestLimits(t *testing.T) {
	// with returns a manifest that has one more key than oneNeed.
	with := func(format string, args ...any) string { return oneNeed("a") + fmt.Sprintf(format, args...) + "\n" }
	// need returns a manifest with a need that has one more key.
	need := func(format string, args ...any) string {
		return "version: 1\napp: a\nports:\n  - {name: web, port: 80, " + fmt.Sprintf(format, args...) + "}\n"
	}
	for _, c := range []struct {
		name  string
		limit int
		text  func(n int) string
		want  string // the problem beyond the limit
	}{
		{
			"bytes", 1 << 20,
			func(n int) string { return with("#%s", strings.Repeat("x", n-len(with("#")))) },
			"-: is larger than 1 MiB, the limit of a manifest",
		},
		{
			"values", 20_000, // oneNeed has 12, and x-a two more
			func(n int) string { return with("x-a: [%s]", strings.Repeat("1,", n-14)) },
			"-:5:39979: more than 20,000 values, the limit of a manifest",
		},
		{
			"levels", 50,
			func(n int) string { return with("x-a: %s%s", strings.Repeat("[", n-1), strings.Repeat("]", n-1)) },
			"-:5:55: nested deeper than 50 levels, the limit of a manifest",
		},
		{
			"marks", 100_000, // oneNeed has 8, and the comment one more
			func(n int) string { return with("# %s", strings.Repeat(",", n-9)) },
			"-:5:99994: more than 100,000 commas, colons, dashes, brackets, question marks and comments, the limit of a manifest",
		},
		{
			"columns before a text", 400,
			func(n int) string { return with("x-a: |\n%sa", strings.Repeat(" ", n)) },
			"-:6:402: indented by more than 400 columns, the limit of a manifest",
		},
		{
			"targets", 256,
			func(n int) string { return with("targets:\n%s", numbered("  t%d: ssh://h\n", n)) },
			"-:262:3: more than 256 targets, the limit of a manifest",
		},
		{
			"addresses of the defaults", 64,
			func(n int) string { return with("defaults: {address: [%s]}", numbered("10.0.0.%d,", n)) },
			"-:5:652: defaults.address: more than 64 addresses, the limit of a need",
		},
		{
			"addresses of a need", 64,
			func(n int) string { return need("address: [%s]", numbered("10.0.0.%d,", n)) },
			"-:4:667: address: more than 64 addresses, the limit of a need",
		},
		{
			"app", 100,
			func(n int) string { return oneNeed(strings.Repeat("ü", n)) },
			"-:2:6: app is longer than 100 characters",
		},
		{
			"host", 100,
			func(n int) string { return with("host: %s", strings.Repeat("h", n)) },
			"-:5:7: host is longer than 100 characters",
		},
		{
			"name", 63,
			func(n int) string {
				return "version: 1\napp: a\nports: [{port: 80, name: " + strings.Repeat("n", n) + "}]\n"
			},
			`-:3:26: name: "` + strings.Repeat("n", 40) + `..." is not a valid name: want 1 to 63 of a-z, 0-9, "_", "." and "-", starting with a letter or digit`,
		},
		{
			"name of a target", 63,
			func(n int) string { return with("targets: {%s: local}", strings.Repeat("n", n)) },
			`-:5:11: targets: "` + strings.Repeat("n", 40) + `..." is not a valid name: want 1 to 63 of a-z, 0-9, "_", "." and "-", starting with a letter or digit`,
		},
		{
			"text", 4096,
			func(n int) string { return need("owner: {executable: %s}", strings.Repeat("/", n)) },
			"-:4:47: owner.executable is longer than 4096 characters",
		},
		{
			"user", 100,
			func(n int) string { return need("run_as: %s", strings.Repeat("u", n)) },
			"-:4:35: run_as is longer than 100 characters",
		},
		{
			"user ID", 4, // the last digit, since the number does not fit an int of 32 bits
			func(n int) string { return need("run_as: 429496729%d", n) },
			`-:4:35: run_as: "4294967295" is not a user: want a user name or a number such as 1000`,
		},
		{
			"label of a host name", 63,
			func(n int) string { return need("expect: reachable, remote: %s.example", strings.Repeat("h", n)) },
			`-:4:54: remote: "` + strings.Repeat("h", 40) + `..." is not a host: want a host name or an IP address, without a port`,
		},
		{
			"host name", 253,
			func(n int) string {
				return need("expect: reachable, remote: %s%s.", strings.Repeat("host.", 40), strings.Repeat("h", n-200))
			},
			`-:4:54: remote: "host.host.host.host.host.host.host.host...." is not a host: want a host name or an IP address, without a port`,
		},
		{
			"port", 65535,
			func(n int) string { return fmt.Sprintf("version: 1\napp: a\nports: [{name: web, port: %d}]\n", n) },
			`-:3:27: port: "65536" is not a port: want a decimal number from 1 to 65535`,
		},
		{
			"seconds to wait", 24 * 60 * 60,
			func(n int) string { return need("wait: %ds", n) },
			`-:4:33: wait: "86401s" is too long: want at most 24h`,
		},
		{
			"host of a target", 253,
			func(n int) string { return with("targets: {a: %q}", "ssh://"+strings.Repeat("h", n)) },
			"-:5:14: targets.a: the host must have 1 to 253 letters, digits, dots, underscores and hyphens, and no hyphen as the first character",
		},
		{
			"user of a target", 255,
			func(n int) string { return with("targets: {a: %q}", "ssh://"+strings.Repeat("%5c", n)+"@h") },
			"-:5:14: targets.a: the user must have 1 to 255 bytes, no control characters, and no hyphen as the first character",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, found := Load([]string{"-"}, strings.NewReader(c.text(c.limit)), Options{}); len(found) > 0 {
				t.Errorf("at the limit: %s", lines(found))
			}
			if _, found := Load([]string{"-"}, strings.NewReader(c.text(c.limit+1)), Options{}); lines(found) != c.want+"\n" {
				t.Errorf("beyond the limit: got\n%swant\n%s", lines(found), c.want)
			}
		})
	}
}

// TestLimitsOfAllFiles checks the limits of all manifests of a run together.
func TestLimitsOfAllFiles(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit int // of files
		text  func(i int) string
		want  string
	}{
		{"files", 4096, func(i int) string { return oneNeed(fmt.Sprintf("a%d", i)) }, "f4096: more than 4,096 manifests, the limit of a run: name fewer, in several runs"},
		{
			"bytes", 33, // the last is read although the others reach the limit
			func(i int) string { return oneNeed(fmt.Sprintf("a%d", i)) + "#" + strings.Repeat("x", 1<<20-100) },
			"f0033: more than 32 MiB of manifests before this one, the limit of a run: name fewer, in several runs",
		},
		{
			"bytes of files that are too long", 32, // of each, one byte more than the limit of a manifest is read
			func(int) string { return strings.Repeat("x", 1<<20+1) },
			"f0032: more than 32 MiB of manifests before this one, the limit of a run: name fewer, in several runs",
		},
		{
			"marks", 10,
			func(i int) string { return oneNeed(fmt.Sprintf("a%d", i)) + "# " + strings.Repeat(",", 100_000-9) },
			"f0010: more than 1,000,000 commas, colons, dashes, brackets, question marks and comments up to the end of this manifest, the limit of a run: name fewer manifests, in several runs",
		},
		{"errors", 1000, func(int) string { return "[]" }, "f1000:1:1: more than 1,000 errors: the others are not shown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			for i := range c.limit + 1 {
				if err := os.WriteFile(fmt.Sprintf("f%04d", i), []byte(c.text(i)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, found := Load([]string{"f*"}, nil, Options{})
			if got := strings.Split(strings.TrimSpace(lines(found)), "\n"); got[len(got)-1] != c.want {
				t.Errorf("beyond the limit: %d problems, the last is %q, want %q", len(found), got[len(got)-1], c.want)
			}
			if err := os.Remove(fmt.Sprintf("f%04d", c.limit)); err != nil {
				t.Fatal(err)
			}
			if _, found := Load([]string{"f*"}, nil, Options{}); strings.Contains(lines(found), "the limit of a run") || strings.Contains(lines(found), "not shown") {
				t.Errorf("at the limit: %s", lines(found[len(found)-1:]))
			}
		})
	}
}

// The exact position of a syntax error is searched for as long as that takes little.
func TestSearchesForSyntaxErrorsAreLimited(t *testing.T) {
	t.Chdir(t.TempDir())
	text := "x: [" + strings.Repeat("a,", 2000) + "]\ny: @"
	for i := range 30 {
		if err := os.WriteFile(fmt.Sprintf("f%02d", i), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, found := Load([]string{"f*"}, nil, Options{})
	exact, near := 0, 0
	for _, p := range found {
		switch {
		case p.Line == 2 && p.Column == 4:
			exact++
		case p.Line == 2 && p.Column == 1:
			near++
		}
	}
	if exact != 17 || near != 13 { // 17 times 2,003 marks and 4,011 bytes are the most within the limit
		t.Errorf("%d exact and %d other positions, want 17 and 13: %s", exact, near, lines(found))
	}
}

// People's files are not refused, whatever is in their texts and comments.
func TestOrdinaryTextIsWithinTheLimits(t *testing.T) {
	for name, text := range map[string]string{
		"a ruler":         "# " + strings.Repeat("- ", 60) + "\n# " + strings.Repeat("=", 400) + "\n" + strings.Repeat("#", 400) + "\n",
		"blanks":          strings.Repeat(" ", 5000) + "\n" + strings.Repeat("\n", 100_000) + "# a" + strings.Repeat(" ", 5000) + "\n",
		"prose":           "x-a: |\n" + strings.Repeat("  Well, this is what it's for: a port - see [1] {2} - isn't it? # 1\n", 10_000),
		"commented needs": strings.Repeat("#  - {name: web, port: 8080, protocol: [tcp, udp], env: \"WEB\"}\n", 6_000),
		"a directive":     "# %TAG\nx-a: |\n  %TAG ! a\n",
		"a table":         "x-a: >\n  a" + strings.Repeat(" ", 500) + "b\n",
	} {
		if _, found := Load([]string{"-"}, strings.NewReader(oneNeed("a")+text), Options{}); len(found) > 0 {
			t.Errorf("%s: %s", name, lines(found))
		}
	}
}
