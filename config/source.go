package config

import "slices"

// source is one kind of file that declares needs.
type source struct {
	name   string
	files  []string                            // the names that Discover and Find look for, in order of preference
	detect func(file string, data []byte) bool // reports whether parse reads such a file
	parse  func(file string, data []byte, more reader) (Manifest, []problem)
}

// reader reads what a source needs besides its file.
type reader struct {
	open   func(name string) ([]byte, []problem)
	getenv func(name string) (string, bool) // nil: no variable is set
}

// sources lists every source. The first one that detects a file parses it, so
// the last one detects every file.
var sources = []source{
	{name: "compose", detect: isCompose, parse: parseCompose},
	{
		name:   "manifest",
		files:  []string{"portcheck.yml", "portcheck.yaml", ".portcheck.yml", ".portcheck.yaml", ".github/portcheck.yml"},
		detect: func(string, []byte) bool { return true },
		parse:  func(file string, data []byte, _ reader) (Manifest, []problem) { return parseManifest(file, data) },
	},
}

// FileNames returns the names of the files that Discover and Find look for, in
// order of preference.
func FileNames() []string {
	var all []string
	for _, s := range sources {
		all = append(all, s.files...)
	}
	return all
}

// parse parses a file by the first source that detects it.
func parse(file string, data []byte, more reader) (Manifest, []problem) {
	i := slices.IndexFunc(sources, func(s source) bool { return s.detect(file, data) })
	return sources[i].parse(file, data, more)
}
