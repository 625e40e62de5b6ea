//go:build !unix

package engine

// User returns -1: this system's sockets have no uid.
func (e *Engine) User() int { return -1 }
