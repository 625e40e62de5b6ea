package report

import (
	"fmt"
	"slices"

	"github.com/org/portcheck/check"
)

// mostJobs is how many jobs the hints of a result name.
const mostJobs = 3

// leftOver returns a hint for each job that started holders of a result's port. Without
// a lease nothing shows whether another job still runs.
func leftOver(r check.Result) []string {
	var all []string
	for _, h := range r.Holders {
		job := h.From().Job
		if job == nil || h.PID == 0 {
			continue
		}
		name := Safe(holderName(h))
		if name == "" {
			name = "the process"
		}
		var text string
		switch {
		case job.Own:
			text = name + " was started by an earlier step of this job: end it in that step, or give this one another port"
		case job.Runs:
			text = fmt.Sprintf("%s was started by %s, which still has a lease: use another port, or wait until that job ends", name, Safe(job.Text))
		default:
			text = fmt.Sprintf("%s was started by %s: end it only if that job is over", name, Safe(job.Text))
		}
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
		if len(all) == mostJobs {
			break
		}
	}
	return all
}
