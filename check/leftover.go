package check

import (
	"cmp"

	"github.com/org/portcheck/host"
)

// markJobs marks the jobs of holders that are the job that asks, and those that still
// have a lease. What others have started is left over by them, as far as is known.
func (o Options) markJobs(f host.Facts) {
	leased := map[string]bool{}
	for _, l := range f.Leases {
		leased[l.Job] = true
	}
	for _, s := range f.Sockets {
		for _, h := range s.Holders {
			if j := h.Job; j != nil {
				j.Own = o.isOwn(*j)
				j.Runs = leased[cmp.Or(j.Named, j.Identity)]
			}
		}
	}
}

// isOwn reports whether a job is the one that asks. Two commands of `portcheck exec` in
// one CI job have names of their own.
func (o Options) isOwn(j host.Job) bool {
	switch {
	case j.Identity != "" && j.Identity != o.Identity:
		return false
	case j.Named != "" && o.Named != "":
		return j.Named == o.Named
	}
	return j.Identity != ""
}

// holderJob returns the job of a process as reports have it.
func holderJob(j host.Job) HolderJob {
	return HolderJob{Name: cmp.Or(j.Named, j.Identity), Text: j.Title(), Own: j.Own, Runs: j.Runs}
}

// Describe returns what a process has to do with the job that started it: "left over
// by run 123 of job e2e".
func (j HolderJob) Describe() string {
	switch {
	case j.Own:
		return "of an earlier step of this job"
	case j.Runs:
		return "of " + j.Text
	}
	return "left over by " + j.Text
}
