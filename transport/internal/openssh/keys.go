package openssh

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/org/portcheck/transport/internal/remote"
)

// mayNameKeys returns false if no configuration file names a key. Then ssh need not
// be asked what the files say about each host.
func (c *Client) mayNameKeys() bool {
	c.keys.Do(func() {
		left := mostConfigFiles
		user := filepath.Join(userHome(), ".ssh")
		file := filepath.Join(user, "config")
		if c.o.ConfigFile != "" {
			file = c.o.ConfigFile
		}
		system := remote.SystemDir(c.o.Env)
		c.namesKeys = mayNameKeys(file, user, &left) || system != "" && mayNameKeys(filepath.Join(system, "ssh_config"), system, &left)
	})
	return c.namesKeys
}

// mostConfigFiles is how many files are looked into before it is taken for granted
// that one names a key.
const mostConfigFiles = 32

// mayNameKeys returns false if neither the file nor one that it includes names a
// key. The files that relative names mean are in dir.
func mayNameKeys(file, dir string, left *int) bool {
	if *left--; *left < 0 {
		return true
	}
	if file == "none" {
		return false
	}
	text, _, err := readConfig(file)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") { // Debian's own file has all options in comments
			continue
		}
		lower := strings.ToLower(line)
		if strings.Contains(lower, "identityfile") || strings.Contains(lower, "certificatefile") {
			return true
		}
		words := strings.Fields(strings.Replace(line, "=", " ", 1))
		if len(words) == 0 || !strings.EqualFold(strings.Trim(words[0], `"`), "Include") {
			continue
		}
		for _, w := range words[1:] {
			if strings.ContainsAny(w, "\"'\\%$~") {
				return true
			}
			if !filepath.IsAbs(w) {
				w = filepath.Join(dir, w)
			}
			names, err := filepath.Glob(w)
			if err != nil {
				return true
			}
			for _, name := range names {
				if mayNameKeys(name, dir, left) {
					return true
				}
			}
		}
	}
	return false
}
