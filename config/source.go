package config

// source is a kind of file that needs can be read from.
type source struct {
	name    string
	matches func(file string) bool
	parse   func(file string, data []byte) (Manifest, []problem)
}

// sources lists them; the first match reads the file. The manifest is last
// because it may have any name.
var sources = []source{
	{"manifest", func(string) bool { return true }, parseManifest},
}

func parse(file string, data []byte) (Manifest, []problem) {
	for _, s := range sources {
		if s.matches(file) {
			return s.parse(file, data)
		}
	}
	panic("no source reads " + file)
}
