package host

import (
	"cmp"

	"github.com/org/portcheck/ci"
)

// Title returns a job for people: "run 123 of job e2e".
func (j Job) Title() string { return cmp.Or(j.Text, "job "+ci.JobWord(j.Named)) }
