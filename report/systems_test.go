package report

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/org/portcheck/check"
)

// TestAdviceFitsTheSystem checks that no hint about Windows or macOS names a command or
// a right that is not there.
func TestAdviceFitsTheSystem(t *testing.T) {
	foreign := map[string]*regexp.Regexp{
		"windows": regexp.MustCompile(`\b(kill|sudo|ss|lsof|root|ulimit|sysctl|systemctl|systemd|ip (address|link)|ifconfig|CAP_\w+|uid)\b|/etc/|/proc/`),
		"darwin":  regexp.MustCompile(`\b(ss|ip (address|link)|ipconfig|taskkill|systemctl|systemd|netstat -ano|CAP_\w+|fs\.file-max|net\.ipv4|SELinux)\b|/proc/`),
	}
	for system, words := range foreign {
		for _, errno := range []string{"", "EMFILE", "ENFILE", "EACCES"} {
			if system == "windows" && errno != "" {
				errno = "WSA" + errno
			}
			for name, r := range results() {
				if r.Redirect != nil {
					continue // there are no such rules
				}
				r.OS, r.TableErrno = system, errno
				if system == "windows" {
					r.UID = nil
				}
				r.Holders = slices.Clone(r.Holders)
				for i := range r.Holders {
					h := &r.Holders[i]
					h.Unit, h.Container, h.UID, h.Forwarder, h.Origin = "", nil, nil, nil, nil
				}
				r.Endpoints = slices.Clone(r.Endpoints)
				for i := range r.Endpoints {
					if errno != "" {
						r.Endpoints[i].Errno = errno
					}
				}
				pids := []int{0, 812}
				if system == "darwin" {
					pids = append(pids, 1)
				} else {
					pids = append(pids, 4)
				}
				for _, pid := range pids {
					for i := range r.Holders {
						r.Holders[i].PID = pid
					}
					for _, text := range texts(r) {
						if found := words.FindString(text); found != "" {
							t.Errorf("%s, %s, pid %d: %q in %q", system, name, pid, found, text)
						}
					}
				}
			}
		}
	}
}

func TestRefusedConnectsAreNoNames(t *testing.T) {
	for errno, not := range map[string]string{"ECONNREFUSED": "resolve", "WSAECONNREFUSED": "resolve", "ETIMEDOUT": "resolve"} {
		r := results()["unreachable"]
		toRemote(&r, "failed", errno)
		if got := fmt.Sprint(texts(r)); strings.Contains(got, not) {
			t.Errorf("%s: %s", errno, got)
		}
	}
	r := results()["unreachable"]
	r.Endpoints = []check.Endpoint{{Address: "db.internal", Port: 5432, Outcome: "failed", Op: "resolve", Errno: "not found"}}
	if got := fmt.Sprint(texts(r)); !strings.Contains(got, "correct the name") {
		t.Error(got)
	}
}
