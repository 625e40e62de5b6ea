package check

import (
	"cmp"

	"github.com/org/portcheck/host"
)

// markOwnJobs marks the jobs of holders that are the job that asks: processes of its
// earlier steps, not left over by others.
func (o Options) markOwnJobs(sockets []host.Socket) {
	for i := range sockets {
		for k := range sockets[i].Holders {
			if j := sockets[i].Holders[k].Job; j != nil {
				j.Own = o.isOwn(*j)
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

// jobText returns a job for people: "run 123 of job e2e".
func jobText(j host.Job) string {
	return cmp.Or(j.Text, "job "+j.Named)
}
