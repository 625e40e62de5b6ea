//go:build !linux

package lease

// Runs reports whether there is a process with which a lease can end.
func Runs(pid int) bool { return !ended(pid) }
