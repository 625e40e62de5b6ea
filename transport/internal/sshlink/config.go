package sshlink

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/org/portcheck/transport/internal/remote"
)

const includeDepth = 16 // the limit of OpenSSH

// clientConfig is the settings of the ssh_config(5) files, in their order.
type clientConfig []setting

// setting is one keyword with its arguments.
type setting struct {
	keyword string // in lower case
	values  []string
	when    []patterns // those of its block and of the blocks that include its file; all must match
}

// patterns are the arguments of a Host line: at least one must match, and none
// that begins with an exclamation mark may match.
type patterns []string

func (ps patterns) match(alias string) bool {
	matched := false
	for _, p := range ps {
		p, negated := strings.CutPrefix(p, "!")
		if wildcard(strings.ToLower(p), strings.ToLower(alias)) {
			if negated {
				return false
			}
			matched = true
		}
	}
	return matched
}

// wildcard reports whether text matches pattern, in which * stands for any text
// and ? for any character.
func wildcard(pattern, text string) bool {
	// path.Match has two more special characters, which are escaped, and its *
	// does not match a slash, which is not in any host name.
	ok, err := path.Match(strings.NewReplacer(`\`, `\\`, "[", `\[`).Replace(pattern), text)
	return ok && err == nil
}

// all returns the values of each setting of a keyword for a host.
func (c clientConfig) all(alias, keyword string) [][]string {
	var all [][]string
	for _, s := range c {
		if s.keyword == strings.ToLower(keyword) && !slices.ContainsFunc(s.when, func(ps patterns) bool { return !ps.match(alias) }) {
			all = append(all, s.values)
		}
	}
	return all
}

// first returns the value of the first setting of a keyword for a host, which
// takes precedence, or "" if there is none.
func (c clientConfig) first(alias, keyword string) string {
	if all := c.all(alias, keyword); len(all) > 0 {
		return strings.Join(all[0], " ")
	}
	return ""
}

// readConfig reads the user's file and the system's. Either may be missing.
func (d *Dialer) readConfig() (clientConfig, error) {
	var c clientConfig
	for _, file := range []struct{ dir, name string }{{d.inHome(".ssh"), "config"}, {d.systemDir(), "ssh_config"}} {
		if file.dir == "" {
			continue
		}
		part, err := d.readFile(filepath.Join(file.dir, file.name), file.dir, nil, 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, remote.At("config", err)
		}
		c = append(c, part...)
	}
	return c, nil
}

// readFile reads a file. Its settings apply to the hosts that match all of when.
// Names of included files are relative to dir.
func (d *Dialer) readFile(file, dir string, when []patterns, depth int) (clientConfig, error) {
	if depth > includeDepth {
		return nil, fmt.Errorf("%s: Include is nested more than %d deep", file, includeDepth)
	}
	text, err := readFile(file, smallFileLimit)
	if errors.As(err, new(*fs.PathError)) {
		return nil, err // it names the file
	}
	if err != nil {
		return nil, fmt.Errorf("%s %w", file, err)
	}
	var c clientConfig
	block := when
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		keyword, values, err := directive(line)
		if err == nil {
			switch keyword {
			case "": // an empty line, or a comment
			case "host":
				block = append(slices.Clip(when), values)
			case "match":
				var hosts patterns
				hosts, err = parseMatch(values)
				block = append(slices.Clip(when), hosts)
			case "include":
				var part clientConfig
				if part, err = d.include(values, dir, block, depth+1); err != nil {
					return nil, err
				}
				c = append(c, part...)
			default:
				c = append(c, setting{keyword, values, block})
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, number, err)
		}
	}
	return c, nil
}

func (d *Dialer) include(files []string, dir string, when []patterns, depth int) (clientConfig, error) {
	var c clientConfig
	for _, p := range files {
		switch p = d.expandHome(p); {
		case p == "":
			continue
		case !filepath.IsAbs(p):
			p = filepath.Join(dir, p)
		}
		files, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("can't include %s: %w", remote.Shorten(p), err)
		}
		for _, f := range files {
			part, err := d.readFile(f, dir, when, depth)
			if err != nil {
				return nil, err
			}
			c = append(c, part...)
		}
	}
	return c, nil
}

// directive splits a line into its keyword, in lower case, and its arguments,
// which may be quoted. The keyword of an empty line and of a comment is "".
func directive(line string) (keyword string, values []string, err error) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", nil, nil
	}
	end := strings.IndexAny(line, " \t=\"")
	if end < 0 {
		return "", nil, fmt.Errorf("%s has no value", remote.Shorten(line))
	}
	keyword = strings.ToLower(line[:end])
	rest := strings.TrimPrefix(strings.TrimLeft(line[end:], " \t"), "=")
	for rest = strings.TrimLeft(rest, " \t"); rest != "" && rest[0] != '#'; rest = strings.TrimLeft(rest, " \t") {
		var word string
		if rest[0] == '"' {
			var closed bool
			if word, rest, closed = strings.Cut(rest[1:], `"`); !closed {
				return "", nil, fmt.Errorf("the value of %s has an unclosed quote", remote.Shorten(keyword))
			}
		} else {
			end := strings.IndexAny(rest, " \t\"")
			if end < 0 {
				end = len(rest)
			}
			word, rest = rest[:end], rest[end:]
		}
		values = append(values, word)
	}
	if len(values) == 0 {
		return "", nil, fmt.Errorf("%s has no value", remote.Shorten(keyword))
	}
	return keyword, values, nil
}

// parseMatch returns the patterns of a Match line. "host" and "originalhost" are
// the same here, and "final" is always true, since the files are read only once.
func parseMatch(criteria []string) (patterns, error) {
	rest := criteria
	if strings.EqualFold(rest[0], "final") {
		rest = rest[1:]
	}
	switch {
	case len(rest) == 0 || len(rest) == 1 && strings.EqualFold(rest[0], "all"):
		return patterns{"*"}, nil
	case len(rest) == 2 && (strings.EqualFold(rest[0], "host") || strings.EqualFold(rest[0], "originalhost")):
		return strings.Split(rest[1], ","), nil
	}
	return nil, fmt.Errorf("unsupported Match %s: use Match all, or Match host PATTERNS alone", remote.Shorten(strings.Join(criteria, " ")))
}

// inHome returns the path of a file in the home directory, "" if there is no
// home directory.
func (d *Dialer) inHome(names ...string) string {
	home := d.o.Env["HOME"]
	if home == "" {
		home = d.o.Env["USERPROFILE"]
	}
	if home == "" {
		return ""
	}
	return filepath.Join(home, filepath.Join(names...))
}

func (d *Dialer) expandHome(file string) string {
	if rest, ok := strings.CutPrefix(file, "~/"); ok {
		return d.inHome(rest)
	}
	return file
}

// systemDir returns the directory of the system's SSH configuration, "" if there
// is none.
func (d *Dialer) systemDir() string {
	if runtime.GOOS != "windows" {
		return "/etc/ssh"
	}
	if data := d.o.Env["PROGRAMDATA"]; data != "" {
		return filepath.Join(data, "ssh")
	}
	return ""
}
