package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/org/portcheck/internal/within"
)

// composeNames and overrideNames are the names that Compose looks for, in its order:
// https://github.com/compose-spec/compose-go/blob/v2.16.2/cli/options.go.
var (
	composeNames  = []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}
	overrideNames = []string{"compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"}
)

// ComposeNames returns the names of Compose files that Discover and Find look for, in
// order of preference.
func ComposeNames() []string { return slices.Clone(composeNames) }

// Discovered is a file that Discover has found.
type Discovered struct {
	File      string
	Compose   bool     // it is a Compose file
	Overrides []string // the files that Compose merges into it
	Above     bool     // it is in a parent of the directory
}

// Discover returns the manifest of a directory. If there is none, it returns the file
// that Compose would read there, which may be in a parent of the directory.
func Discover(dir string, o Options) (Discovered, []Problem) {
	d, found := discover(dir, o)
	return d, withoutKinds(found)
}

func discover(dir string, o Options) (Discovered, []problem) {
	if o.Source != "compose" {
		files, found := existing(dir, FileNames())
		switch {
		case len(found) > 0:
			return Discovered{}, found
		case len(files) > 0:
			if found = ambiguous(files); len(found) > 0 {
				return Discovered{}, found
			}
			return Discovered{File: files[0]}, nil
		case o.Source != "":
			return Discovered{}, []problem{newProblem(Position{}, noneInDirectory, quote(dir), strings.Join(FileNames(), ", "))}
		}
	}
	d, found := discoverCompose(dir, o)
	switch {
	case len(found) > 0 || d.File != "":
		return d, found
	case o.Source != "":
		return d, []problem{newProblem(Position{}, noComposeFile, quote(dir), strings.Join(composeNames, ", "))}
	}
	return d, []problem{newProblem(Position{}, nothingFound, quote(dir), strings.Join(FileNames(), ", "), strings.Join(composeNames, ", "))}
}

// discoverCompose returns the file that Compose would read in a directory, or none.
func discoverCompose(dir string, o Options) (Discovered, []problem) {
	if files, found := namedFiles(dir, o); len(files) > 0 || len(found) > 0 {
		d := Discovered{Compose: true}
		if len(files) > 0 {
			d.File, d.Overrides = files[0], files[1:]
		}
		return d, found
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Discovered{}, []problem{fileProblem(Position{File: dir}, err)}
	}
	for above := false; ; above = true {
		files, found := existing(dir, composeNames)
		if len(found) > 0 {
			return Discovered{}, found
		}
		if len(files) > 0 {
			d := Discovered{File: files[0], Compose: true, Above: above}
			overrides, found := existing(dir, overrideNames)
			d.Overrides = overrides[:min(len(overrides), 1)]
			return d, found
		}
		parent := filepath.Dir(abs)
		if parent == abs || !mayRead(parent, o.Bounds) {
			return Discovered{}, nil
		}
		abs, dir = parent, filepath.Join(dir, "..")
	}
}

// mayRead reports whether a directory is in one of the bounds, if there are any.
func mayRead(dir string, bounds []within.Dir) bool {
	return len(bounds) == 0 || slices.ContainsFunc(bounds, func(b within.Dir) bool {
		_, inside := b.Rel(dir)
		return inside
	})
}

// composeFile is the variable that lists the files of a project.
const composeFile = "COMPOSE_FILE"

// namedFiles returns the files that COMPOSE_FILE names, in the environment or in the
// file .env of a directory, or none. Whoever wrote that file must not choose files
// elsewhere: messages show parts of what is read.
func namedFiles(dir string, o Options) ([]string, []problem) {
	at := Position{File: composeFile}
	list, ok := o.getenv(composeFile)
	separator, _ := o.getenv("COMPOSE_PATH_SEPARATOR")
	inFile := !ok || list == ""
	if inFile {
		o.listedAt = &at
		get, found := o.projectEnv(dir)
		if len(found) > 0 {
			return nil, found
		}
		list, _ = get(composeFile)
		if separator == "" {
			separator, _ = get("COMPOSE_PATH_SEPARATOR")
		}
	}
	if list == "" {
		return nil, nil
	}
	if separator == "" {
		separator = ":"
		if runtime.GOOS == "windows" {
			separator = ";"
		}
	}
	var files []string
	for file := range strings.SplitSeq(list, separator) {
		switch {
		case len(files) > maxFiles:
			return nil, []problem{newProblem(at, tooManyFiles)}
		case inFile && !filepath.IsLocal(file):
			return nil, []problem{newProblem(at, notLocal, quotePath(file))}
		case !filepath.IsAbs(file):
			file = filepath.Join(dir, file)
		}
		files = append(files, file)
	}
	return files, nil
}

// existing returns those of the names that a directory has.
func existing(dir string, names []string) ([]string, []problem) {
	var files []string
	for _, name := range names {
		file := filepath.Join(dir, filepath.FromSlash(name))
		switch _, err := os.Lstat(file); {
		case err == nil:
			files = append(files, file)
		case errors.Is(err, fs.ErrPermission):
			return nil, []problem{fileProblem(Position{File: file}, err)}
		}
	}
	return files, nil
}
