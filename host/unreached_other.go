//go:build !linux

package host

// findUnreached does nothing: other systems bind only addresses of the machine's.
func (p *probe) findUnreached() {}
