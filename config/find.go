package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/portcheck/internal/within"
)

// Find returns all manifests below a directory, sorted, up to the limit of a run. Of a
// directory without a manifest it returns the file that Compose would read there. A
// directory in one of the bounds is not read if a link leads out of them.
func Find(dir string, o Options) ([]string, []Problem) {
	root, err := within.OpenRoot(dir, o.Bounds)
	if err != nil && !errors.As(err, &within.LeavesError{}) {
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			return nil, []Problem{newProblem(Position{File: dir}, isNoDirectory).Problem}
		}
	}
	if err != nil {
		return nil, []Problem{fileProblem(Position{File: dir}, err).Problem}
	}
	defer root.Close()
	files, found := find(rootFS{root}, dir, o.Source)
	return files, withoutKinds(found)
}

// rootFS is the file system of a root. That of os.Root refuses names that are not UTF-8.
type rootFS struct{ *os.Root }

func (r rootFS) Open(name string) (fs.File, error) { return r.Root.Open(name) }

// maxDirDepth is the number of directories, one in another, below the one in which
// Find starts. Opening a directory takes a system call for each above it.
const maxDirDepth = 100

// find does not follow symbolic links to directories, since they may form a loop.
func find(fsys fs.FS, dir, source string) ([]string, []problem) {
	var names []string
	if source != "compose" {
		names = FileNames()
	}
	if source == "" || source == "compose" {
		names = append(names, composeNames...)
	}
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
		case d.IsDir() || !slices.Contains(names, d.Name()) || isComponent(fsys, path):
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
	files, clashes := choose(files)
	found = append(found, clashes...)
	if len(files) == 0 && len(found) == 0 {
		found = append(found, newProblem(Position{}, noneBelow, quote(dir), strings.Join(names, ", ")))
	}
	return files, shortened(found)
}

// isComponent reports whether a file is a component of GitLab, which may have the name
// of a manifest: https://docs.gitlab.com/ci/components/#directory-structure.
func isComponent(fsys fs.FS, path string) bool {
	if dir := filepath.ToSlash(filepath.Dir(filepath.FromSlash(path))); dir != "templates" && !strings.HasSuffix(dir, "/templates") {
		return false
	}
	if info, err := fs.Stat(fsys, path); err != nil || !info.Mode().IsRegular() { // opening a pipe may wait
		return false
	}
	f, err := fsys.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 4096))
	return err == nil && (bytes.HasPrefix(head, []byte("spec:")) || bytes.Contains(head, []byte("\nspec:")))
}

// choose returns the files to read, sorted: in each directory the manifest, else the
// first one of Compose's names. It reports every second manifest.
func choose(files []string) ([]string, []problem) {
	isComposeName := func(file string) bool { return slices.Contains(composeNames, filepath.Base(file)) }
	hasManifest := map[string]bool{}
	first := map[string]int{} // the index of its name
	for _, file := range files {
		dir := filepath.Dir(file)
		if isComposeName(file) {
			if i, known := first[dir]; !known || slices.Index(composeNames, filepath.Base(file)) < i {
				first[dir] = slices.Index(composeNames, filepath.Base(file))
			}
			continue
		}
		hasManifest[dir] = true
		if filepath.Base(dir) == ".github" {
			hasManifest[filepath.Dir(dir)] = true
		}
	}
	files = slices.DeleteFunc(files, func(file string) bool {
		dir := filepath.Dir(file)
		return isComposeName(file) && (hasManifest[dir] || composeNames[first[dir]] != filepath.Base(file))
	})
	slices.Sort(files)
	return files, ambiguous(files)
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
