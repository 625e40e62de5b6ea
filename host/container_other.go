//go:build !linux

package host

// OwnContainer returns false: on this system no process runs in a container that
// an engine could describe.
func OwnContainer() (ids []string, inside bool) { return nil, false }

func containerAtStart() (ids []string, inside bool) { return nil, false }

// SetUpAsContainer returns false.
func SetUpAsContainer() bool { return false }
