//go:build !unix

package cli

// giveAway does nothing: here a directory says who may use what is in it.
func giveAway(string, func(uid, gid int) error) error { return nil }
