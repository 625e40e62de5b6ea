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

// Discovered is a file that Discover has found.
type Discovered struct {
	File     string
	Compose  bool   // it is a Compose file
	Override string // the file that Compose merges into it, or ""
	Above    bool   // it is in a parent of the directory
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
	if file, found := composeFile(dir, o); file != "" || len(found) > 0 {
		return Discovered{File: file, Compose: true}, found
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
			if len(overrides) > 0 {
				d.Override = overrides[0]
			}
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

// composeFile returns the file that COMPOSE_FILE names, in the environment or in the
// file .env of a directory, or "". Whoever wrote that file must not choose files
// elsewhere: messages show parts of what is read.
func composeFile(dir string, o Options) (string, []problem) {
	const variable = "COMPOSE_FILE"
	at := Position{File: variable}
	list, ok := o.getenv(variable)
	separator, _ := o.getenv("COMPOSE_PATH_SEPARATOR")
	if !ok || list == "" {
		env, found := readDotEnv(dir, o)
		if len(found) > 0 {
			return "", found
		}
		if list = env[variable]; list == "" {
			return "", nil
		}
		at.File = filepath.Join(dir, ".env")
		if separator == "" {
			separator = env["COMPOSE_PATH_SEPARATOR"]
		}
		if !filepath.IsLocal(list) {
			return "", []problem{newProblem(at, notLocal, quotePath(list))}
		}
	}
	if separator == "" {
		separator = ":"
		if runtime.GOOS == "windows" {
			separator = ";"
		}
	}
	if strings.Contains(list, separator) {
		return "", []problem{newProblem(at, severalFiles)}
	}
	if filepath.IsAbs(list) {
		return list, nil
	}
	return filepath.Join(dir, list), nil
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
