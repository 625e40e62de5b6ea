package host

import (
	"bytes"
	"io"
	"os"
	"slices"

	"github.com/org/portcheck/ci"
	"github.com/org/portcheck/host/lease"
)

// Limits on what is read of environments, in bytes.
const (
	environmentLimit  = 128 << 10 // of one
	environmentsLimit = 4 << 20   // of all together
	variableLimit     = 256       // of the value of one variable
)

// job returns the job that the environment of a process names, or nil. The environment
// is that of the process's start, and full of secrets: nothing of it is kept but the
// variables that name a job.
func (d *details) job(dir string) *Job {
	f, err := os.Open(dir + "environ")
	if err != nil {
		return nil // of another user, or it has ended
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, int64(min(environmentLimit, d.jobs))))
	d.jobs -= len(text)
	if err != nil {
		return nil
	}
	env := jobVariables(text)
	clear(text)
	job := Job{Named: env[ci.JobVariable], Identity: ci.Identity(env), Text: ci.DescribeJob(env)}
	if job == (Job{}) {
		return nil
	}
	if job.Identity != "" {
		job.Identity = lease.Name(job.Identity)
	}
	if job.Named != "" {
		job.Named = lease.Name(job.Named)
	}
	return &job
}

// jobVariables returns the variables of an environment by which a job is known, and no
// other ones. What is cut off at the end of the text is left out.
func jobVariables(text []byte) ci.Env {
	names := ci.JobVariables()
	env := ci.Env{}
	for {
		entry, rest, whole := bytes.Cut(text, []byte{0})
		if !whole {
			return env
		}
		text = rest
		name, value, ok := bytes.Cut(entry, []byte("="))
		if ok && len(value) <= variableLimit && slices.Contains(names, string(name)) {
			env[string(name)] = string(value)
		}
	}
}
