//go:build !unix && !windows

package cli

import "os"

// lockFile does nothing.
func lockFile(*os.File) error { return nil }
