//go:build !unix

package within

// noWait is nothing: without Unix, no file waits for another end.
const noWait = 0
