//go:build linux

package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// report is the part of portcheck's report that the oracle reads.
type report struct{ Results []result }

type result struct {
	Status   string
	OK       bool
	Message  string
	Complete *bool `json:"holders_complete"`
	Holders  []struct{ PID int }
}

func (r report) ok() bool {
	return !slices.ContainsFunc(r.Results, func(x result) bool { return !x.OK })
}

const itself = "nobody itself"

// view is a user that runs portcheck, and the run_as of the manifest.
type view struct {
	name  string
	uid   int
	runAs string
}

// viewsOf returns the views on a server that runs as uid. Each view is a process
// of its own. The view without root runs as the server's user.
func viewsOf(uid int) []view {
	if uid == rootID {
		return []view{{"root", rootID, ""}}
	}
	return []view{{"nobody by run_as", rootID, "nobody"}, {itself, nobodyID, ""}}
}

// ask runs portcheck on the manifest of a server and returns its report.
func (w *world) ask(s server, v view, owner string) (report, error) {
	var r report
	file := filepath.Join(w.dir, "portcheck.yml")
	if err := os.WriteFile(file, []byte(s.manifest(v.runAs, owner)), 0o644); err != nil {
		return r, err
	}
	cmd := w.program("portcheck", v.uid, "-f", "json", file)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() != 1 && cmd.ProcessState.ExitCode() != 3 {
		return r, fmt.Errorf("portcheck: %w\n%s%s", err, out, problems.Bytes())
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("portcheck: %w\n%s", err, out)
	}
	if len(r.Results) != len(s.needs) {
		return r, fmt.Errorf("portcheck: %d results for %d needs", len(r.Results), len(s.needs))
	}
	return r, nil
}

// taken reports whether the need fails because of a holder.
func (r result) taken() bool {
	return !r.OK && r.Status != "denied" && r.Status != "unavailable"
}

// pids returns the PIDs of the holders that a result names.
func (r result) pids() []int {
	var all []int
	for _, h := range r.Holders {
		if h.PID != 0 && !slices.Contains(all, h.PID) {
			all = append(all, h.PID)
		}
	}
	slices.Sort(all)
	return all
}

// listed returns the processes that `portcheck list` names on the port.
func (w *world) listed() ([]int, error) {
	cmd := w.program("portcheck", rootID, "list", "-f", "json")
	cmd.Stderr = nil // its warning that PID 1 can't be inspected
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("portcheck list: %w", err)
	}
	var listing struct {
		Sockets []struct{ Port, PID int }
	}
	if err := json.Unmarshal(out, &listing); err != nil {
		return nil, fmt.Errorf("portcheck list: %w\n%s", err, out)
	}
	var pids []int
	for _, s := range listing.Sockets {
		if s.Port == number && s.PID != 0 && !slices.Contains(pids, s.PID) {
			pids = append(pids, s.PID)
		}
	}
	slices.Sort(pids)
	return pids, nil
}
