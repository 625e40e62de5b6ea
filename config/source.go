package config

import "slices"

// source is one kind of file that declares needs.
type source struct {
	name   string
	files  []string                            // the names that Discover and Find look for, in order of preference
	detect func(file string, data []byte) bool // reports whether parse reads such a file
	parse  func(file string, data []byte, o Options) (Manifest, []problem)
}

// sources lists every source. The first one that detects a file parses it, so
// the last one detects every file.
var sources = []source{
	{name: "compose", detect: isCompose, parse: parseCompose},
	{
		name:   "manifest",
		files:  []string{"portcheck.yml", "portcheck.yaml", ".portcheck.yml", ".portcheck.yaml", ".github/portcheck.yml"},
		detect: func(string, []byte) bool { return true },
		parse:  func(file string, data []byte, _ Options) (Manifest, []problem) { return parseManifest(file, data) },
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

// SourceNames returns the names that Options.Source can have.
func SourceNames() []string {
	var all []string
	for _, s := range sources {
		all = append(all, s.name)
	}
	return all
}

// parse parses a file by the source of the options, or else by the first one that
// detects it.
func parse(file string, data []byte, o Options) (Manifest, []problem) {
	i := slices.IndexFunc(sources, func(s source) bool {
		return s.name == o.Source || o.Source == "" && s.detect(file, data)
	})
	return sources[i].parse(file, data, o)
}
