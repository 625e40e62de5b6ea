package remote

import (
	"path/filepath"
	"runtime"
	"strings"
)

// SystemDir returns the directory of the system's SSH configuration, "" if it is not known.
func SystemDir(env map[string]string) string { return systemDirOn(runtime.GOOS, env) }

func systemDirOn(system string, env map[string]string) string {
	if system != "windows" {
		return "/etc/ssh"
	}
	for name, dir := range env {
		// The name is usually ProgramData. Windows does not tell cases apart.
		if strings.EqualFold(name, "ProgramData") && dir != "" {
			return filepath.Join(dir, "ssh")
		}
	}
	return ""
}
