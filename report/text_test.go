package report

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
)

func TestColourIsTheSeverityAlone(t *testing.T) {
	r := several()
	outputs := inAllFormats(t, r, Options{Color: true})
	plain := inAllFormats(t, r, Options{})
	got := strings.NewReplacer("\x1b[1;31merror\x1b[0m", "error", "\x1b[1;33mwarning\x1b[0m", "warning").Replace(outputs["text"])
	if got != plain["text"] || got == outputs["text"] {
		t.Errorf("colour: %q", outputs["text"])
	}
	for _, format := range []string{"json", "markdown", "github"} {
		if outputs[format] != plain[format] {
			t.Errorf("%s is coloured", format)
		}
	}
}

func TestMetNeedsPrintTheSummaryAlone(t *testing.T) {
	r := reportOf(results()["free"], results()["owned"])
	want := "2 ports checked on local (this machine): 2 ok\n"
	if got := inAllFormats(t, r, Options{})["text"]; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The header names the program of whose virtual machine the ports are.
func TestVirtualMachineInTheHeader(t *testing.T) {
	for vm, want := range map[check.Namespace]string{
		{Kind: "host", VM: "Colima"}: "1 port checked on local (the virtual machine of Colima): 1 ok\n",
		{Kind: "host", VM: "\x1b["}:  `1 port checked on local (the virtual machine of \x1b[): 1 ok` + "\n",
		{Kind: "unknown", Reason: "that of the container engine", VM: "Podman Machine"}: "1 port checked on local (unknown network namespace in the virtual machine of Podman Machine: that of the container engine): 1 ok\n",
	} {
		r := reportOf(results()["free"])
		r.Targets[0].Namespace = vm
		if got := inAllFormats(t, r, Options{})["text"]; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestProblemsAmongResults(t *testing.T) {
	r := lint()
	r.Problems = problems().Problems[:1]
	got := inAllFormats(t, r, Options{})["text"]
	if want := "3 ports compared: 1 ok, 1 conflict, 1 warning, 1 manifest error\n"; !strings.HasSuffix(got, want) {
		t.Errorf("%s\nlacks %s", got, want)
	}
}

func TestCommandsAreFew(t *testing.T) {
	r := results()["command"]
	for range 10 {
		r.Holders = append(r.Holders, r.Holders[0])
	}
	got := inAllFormats(t, reportOf(r), Options{})["text"]
	if n := strings.Count(got, "command of pid"); n != maxCommands {
		t.Errorf("%d command lines, want %d:\n%s", n, maxCommands, got)
	}
}

func TestTargetNotices(t *testing.T) {
	var b bytes.Buffer
	if err := TargetNotices(&b, targets().Targets); err != nil {
		t.Fatal(err)
	}
	want := "target app1: note: holders of other users can't be seen: open /proc/812/fd: EACCES [degraded]\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

type fullDisk struct{}

var errFull = errors.New("no space left")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestAFailedWriteIsAnError(t *testing.T) {
	for name, format := range Formats {
		if err := format(fullDisk{}, several(), Options{}); !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name := range ListFormats {
		if err := List(fullDisk{}, check.Listing{}, name, Options{}); !errors.Is(err, errFull) {
			t.Errorf("list as %s: %v", name, err)
		}
	}
}

// An unmet need of an unexpected status must not disappear.
func TestUnmetIsAlwaysShown(t *testing.T) {
	for _, status := range []check.Status{"", check.Free, "some-later-status"} {
		r := need(status, "it is not met")
		for format, out := range inAllFormats(t, reportOf(r), Options{}) {
			shown := strings.Contains(out, "it is not met")
			if format == "prometheus" { // has no messages
				shown = strings.Contains(out, `portcheck_need_ok{id="shop/web@local/tcp"`) && strings.Contains(out, `severity="error"} 0`+"\n")
			}
			if !shown {
				t.Errorf("%q in %s: %s", status, format, out)
			}
		}
	}
}

// Where nothing can be bound, the output does not show the range as taken.
func TestNoAlternativesWhereNothingIsBound(t *testing.T) {
	r := results()["no-alternative"]
	r.NoSearchReason = "no port can be test-bound on app1"
	got := inAllFormats(t, reportOf(r), Options{})["text"]
	if !strings.Contains(got, "no alternatives: no port can be test-bound on app1") || strings.Contains(got, "no port in") {
		t.Error(got)
	}
}
