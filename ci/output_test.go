package ci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// parseOutputs reads a GITHUB_OUTPUT file as the runner does (EnvFileKeyValuePairs
// in FileCommandManager.cs of actions/runner, on Linux).
func parseOutputs(t *testing.T, text string) map[string]string {
	t.Helper()
	outputs := map[string]string{}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		equals, here := strings.Index(line, "="), strings.Index(line, "<<")
		switch {
		case line == "":
		case equals >= 0 && (here < 0 || equals < here):
			outputs[line[:equals]] = line[equals+1:]
		case here > 0 && line[here+2:] != "":
			var value []string
			for i++; i < len(lines) && lines[i] != line[here+2:]; i++ {
				value = append(value, lines[i])
			}
			if i == len(lines) {
				t.Fatalf("no line %q ends the value of %s", line[here+2:], line[:here])
			}
			outputs[line[:here]] = strings.Join(value, "\n")
		default:
			t.Fatalf("invalid line %q", line)
		}
	}
	return outputs
}

func outputFile(t *testing.T, content string) (Env, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return Env{"GITHUB_OUTPUT": file, "GITHUB_STEP_SUMMARY": file}, file
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOutputsKeepHostileValues(t *testing.T) {
	for _, value := range []string{
		"", "true", "\n", "a\nb\n", "x=1", "x<<EOF\npwned\nEOF", "EOF\nok=pwned", "ghadelimiter_\nok=pwned",
		"_GitHubActionsFileCommandDelimeter_\nok=pwned", "::error::x", "a\r\nb\rc", "\x00\xff", `{"shop/web@local/tcp":[20000]}`,
	} {
		env, file := outputFile(t, "")
		if err := WriteOutputs(env, Output{"report", value}, Output{"ok", "false"}); err != nil {
			t.Fatal(err)
		}
		got := parseOutputs(t, read(t, file))
		if len(got) != 2 || got["report"] != value || got["ok"] != "false" {
			t.Errorf("%q came back as %q", value, got)
		}
	}
}

func TestDelimitersDiffer(t *testing.T) {
	env, file := outputFile(t, "")
	if err := WriteOutputs(env, Output{"a", "x"}, Output{"b", "x"}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(read(t, file), "\n")
	if first, second := lines[2], lines[5]; first == second {
		t.Errorf("two outputs, one delimiter: %s", first)
	}
}

func TestValueWithTheDelimiterIsRefused(t *testing.T) {
	if _, err := entry(Output{"a", "x\nD\nb=1"}, "D"); err == nil {
		t.Error("the value ends its own entry")
	}
}

func TestOutputNames(t *testing.T) {
	for _, name := range []string{"azAZ09_-", "z", "0", "_a"} {
		env, file := outputFile(t, "")
		if err := WriteOutputs(env, Output{name, "x"}); err != nil || parseOutputs(t, read(t, file))[name] != "x" {
			t.Errorf("%q: error %v, file %q", name, err, read(t, file))
		}
	}
	for _, name := range []string{"", "a=b", "a<<b", "a\nb", "a b", "é", "-a"} {
		env, file := outputFile(t, "")
		if err := WriteOutputs(env, Output{"ok", "true"}, Output{name, "x"}); err == nil || read(t, file) != "" {
			t.Errorf("%q: error %v, file %q", name, err, read(t, file))
		}
	}
}

func TestEarlierLinesStay(t *testing.T) {
	for _, earlier := range []string{"a=1\n", "a=1"} {
		env, file := outputFile(t, earlier)
		if err := WriteOutputs(env, Output{"ok", "true"}); err != nil {
			t.Fatal(err)
		}
		if got := parseOutputs(t, read(t, file)); got["a"] != "1" || got["ok"] != "true" {
			t.Errorf("after %q: %q", earlier, got)
		}
	}
}

func TestSummaryIsAppended(t *testing.T) {
	env, file := outputFile(t, "")
	for range 2 {
		if err := AppendSummary(env, "# x"); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, file); got != "# x\n# x\n" {
		t.Errorf("%q", got)
	}
}

// GitHub drops a summary of more than 1 MiB, with what earlier commands wrote.
func TestSummaryLimit(t *testing.T) {
	before := strings.Repeat("x", 1<<20-11) + "\n"
	env, file := outputFile(t, before)
	if err := AppendSummary(env, "ten bytes."); err == nil || read(t, file) != before {
		t.Errorf("11 bytes, of which 10 fit: error %v", err)
	}
	if err := AppendSummary(env, "nine byte"); err != nil || read(t, file) != before+"nine byte\n" {
		t.Errorf("10 bytes, which fit: error %v", err)
	}
	if err := AppendSummary(env, ""); err == nil || read(t, file) != before+"nine byte\n" {
		t.Errorf("one byte more: error %v", err)
	}
}

func TestNewFileIsReadableForLaterSteps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := WriteOutputs(Env{"GITHUB_OUTPUT": file}, Output{"ok", "true"}); err != nil {
		t.Fatal(err)
	}
	usual := filepath.Join(t.TempDir(), "usual")
	if err := os.WriteFile(usual, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.Stat(usual)
	if err != nil {
		t.Fatal(err)
	}
	if got.Mode() != want.Mode() {
		t.Errorf("mode %v, want %v", got.Mode(), want.Mode())
	}
}

func TestWarningAnnotation(t *testing.T) {
	got := WarningAnnotation("portcheck", "100% of\nit\n::set-env")
	if want := "::warning title=portcheck::100%25 of%0Ait%0A::set-env"; strings.TrimSpace(got) != want || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMissingFiles(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "no", "file")
	for variable, write := range map[string]func(Env) error{
		"GITHUB_OUTPUT":       func(env Env) error { return WriteOutputs(env, Output{"ok", "true"}) },
		"GITHUB_STEP_SUMMARY": func(env Env) error { return AppendSummary(env, "# x") },
	} {
		if err := write(Env{}); err == nil || err.Error() != variable+" is not set" {
			t.Errorf("unset: %v", err)
		}
		err := write(Env{variable: missing})
		if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), variable+": ") {
			t.Errorf("missing: %v", err)
		}
		if _, err := os.Stat(filepath.Dir(missing)); err == nil {
			t.Error("the directory was made")
		}
		if err := write(Env{variable: t.TempDir()}); err == nil {
			t.Error("a directory was written to")
		}
	}
}
