package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Names are the manifests that are looked for when none is named, in order.
var Names = []string{"portcheck.yml", "portcheck.yaml", ".portcheck.yml", ".portcheck.yaml", ".github/portcheck.yml"}

// Discover gives the manifest of a folder.
func Discover(dir string) (string, []Problem) {
	var here []string
	for _, name := range Names {
		file := filepath.Join(dir, filepath.FromSlash(name))
		switch _, err := os.Lstat(file); {
		case err == nil:
			here = append(here, file)
		case errors.Is(err, fs.ErrPermission):
			return "", []Problem{fileProblem(Position{File: file}, err).Problem}
		}
	}
	if len(here) == 0 {
		return "", []Problem{newProblem(Position{}, noneHere, quote(dir), strings.Join(Names, ", ")).Problem}
	}
	if found := pairs(here); len(found) > 0 {
		return "", public(found)
	}
	return here[0], nil
}

// Find gives all manifests below a folder, sorted.
func Find(dir string) ([]string, []Problem) {
	files, found := find(os.DirFS(dir), dir)
	return files, public(found)
}

// find does not follow symbolic links to folders, since they may form a loop.
func find(fsys fs.FS, dir string) ([]string, []problem) {
	var files []string
	var found []problem
	// The function never gives an error, so WalkDir doesn't either.
	_ = fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		file := filepath.Join(dir, filepath.FromSlash(path))
		switch {
		case err != nil:
			found = append(found, fileProblem(Position{File: file}, err))
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
		case d.IsDir() && path != "." && (d.Name() == ".git" || d.Name() == "node_modules"):
			return fs.SkipDir
		case !d.IsDir() && slices.Contains(Names, d.Name()):
			files = append(files, file)
		}
		return nil
	})
	slices.Sort(files)
	found = append(found, pairs(files)...)
	if len(files) == 0 && len(found) == 0 {
		found = append(found, newProblem(Position{}, noneBelow, quote(dir), strings.Join(Names, ", ")))
	}
	return files, found
}

// pairs reports the manifests that share a folder, where nobody can tell which
// one is meant.
func pairs(files []string) []problem {
	var found []problem
	first := map[string]string{}
	for _, file := range files {
		dir := filepath.Dir(file)
		if before, ok := first[dir]; ok {
			found = append(found, newProblem(Position{File: file}, twoInAFolder, quote(filepath.Base(before)), quote(filepath.Base(file))))
			continue
		}
		first[dir] = file
	}
	return found
}
