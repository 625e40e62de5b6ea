package config

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/portcheck/internal/within"
)

// Find returns all manifests below a directory, sorted, up to the limit of a run. A
// directory in one of the bounds is not read if a link leads out of them.
func Find(dir string, bounds ...within.Dir) ([]string, []Problem) {
	root, err := within.OpenRoot(dir, bounds)
	if err != nil {
		return nil, []Problem{fileProblem(Position{File: dir}, err).Problem}
	}
	defer root.Close()
	files, found := find(root.FS(), dir)
	return files, withoutKinds(found)
}

// maxDirDepth is the number of directories, one in another, below the one in which
// Find starts. Opening a directory takes a system call for each above it.
const maxDirDepth = 100

// find does not follow symbolic links to directories, since they may form a loop.
func find(fsys fs.FS, dir string) ([]string, []problem) {
	names := FileNames()
	var files []string
	var found []problem
	// The function returns no error but SkipDir and SkipAll, so WalkDir returns none.
	_ = fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		file := filepath.Join(dir, filepath.FromSlash(path))
		switch {
		case err != nil:
			found = append(found, fileProblem(Position{File: file}, err))
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir() && strings.Count(path, "/") == maxDirDepth:
			found = append(found, newProblem(Position{File: file}, deepDirectory))
			return fs.SkipDir
		case d.IsDir() || !slices.Contains(names, d.Name()):
		case len(files) == maxFiles:
			found = append(found, newProblem(Position{File: file}, tooManyFiles))
			return fs.SkipAll
		default:
			files = append(files, file)
		}
		if len(found) > maxProblems {
			return fs.SkipAll
		}
		return nil
	})
	slices.Sort(files)
	found = append(found, ambiguous(files)...)
	if len(files) == 0 && len(found) == 0 {
		found = append(found, newProblem(Position{}, noneBelow, quote(dir), strings.Join(names, ", ")))
	}
	return files, shortened(found)
}

// ambiguous reports every file that is not the first one of its directory.
func ambiguous(files []string) []problem {
	var found []problem
	first := map[string]string{}
	for _, file := range files {
		dir := filepath.Dir(file)
		if before, ok := first[dir]; ok {
			found = append(found, newProblem(Position{File: file}, sameDirectory, quote(filepath.Base(before)), quote(filepath.Base(file))))
			continue
		}
		first[dir] = file
	}
	return found
}
