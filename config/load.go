package config

import (
	"cmp"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/portcheck/internal/within"
)

// Load reads the manifests that names lists: files, glob patterns, or - for
// stdin. It returns the problems of all of them, and manifests only if there are
// no problems. A file in one of the bounds is not read if a link leads out of them.
func Load(names []string, stdin io.Reader, bounds ...within.Dir) ([]Manifest, []Problem) {
	all, found := load(names, stdin, bounds)
	if len(found) > 0 {
		return nil, withoutKinds(found)
	}
	return all, nil
}

func load(names []string, stdin io.Reader, bounds []within.Dir) ([]Manifest, []problem) {
	files, found := expand(names, bounds)
	order := map[string]int{}
	left := map[string]*within.Dir{} // by file
	var all []Manifest
	size := 0
	for i, file := range files {
		order[file] = len(order)
		if i == maxFiles {
			found = append(found, newProblem(Position{File: file}, tooManyFiles))
			break
		}
		if size > maxAllBytes {
			found = append(found, newProblem(Position{File: file}, tooManyBytes))
			break
		}
		if len(found) > maxProblems {
			break
		}
		var data []byte
		var bad []problem
		if file == stdinName {
			data, bad = readAll(file, stdin)
		} else {
			data, left[file], bad = readFile(file, bounds)
		}
		if bad == nil {
			var m Manifest
			m, bad = parse(file, data)
			all = append(all, m)
			size += len(data)
		}
		found = append(found, bad...)
	}
	found = append(found, checkRun(all)...)
	for i, p := range found {
		if dir := left[p.File]; dir != nil {
			found[i] = p.withoutValues(*dir)
		}
	}
	slices.SortStableFunc(found, func(a, b problem) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if len(found) > maxProblems {
		found = append(found[:maxProblems], newProblem(found[maxProblems].Position, tooManyProblems))
	}
	return all, found
}

// Files returns the files that Load would read: globs expanded, each file once,
// - for stdin.
func Files(names []string, bounds ...within.Dir) ([]string, []Problem) {
	files, found := expand(names, bounds)
	return files, withoutKinds(found)
}

// expand returns the files that names lists, each once.
func expand(names []string, bounds []within.Dir) ([]string, []problem) {
	var files []string
	var found []problem
	for _, name := range names {
		matches := []string{name}
		if isGlob(name) {
			var bad *problem
			if matches, bad = glob(name, bounds); bad != nil {
				found = append(found, *bad)
			}
		}
		files = append(files, matches...)
	}
	return distinct(files), found
}

// isGlob reports whether name is a pattern, and not the name of an existing file.
func isGlob(name string) bool {
	if name == stdinName || !strings.ContainsAny(name, "*?[") {
		return false
	}
	_, err := os.Lstat(name)
	return err != nil
}

// glob returns the files that match a pattern, without directories. It leaves out
// what is in a directory to which a link leads out of the bounds.
func glob(pattern string, bounds []within.Dir) ([]string, *problem) {
	at := Position{File: pattern}
	// filepath.Glob treats ** as * and would silently miss manifests.
	if strings.Contains(pattern, "**") {
		bad := newProblem(at, deepGlob)
		return nil, &bad
	}
	matches, err := filepath.Glob(pattern)
	if err != nil {
		bad := newProblem(at, badGlob)
		return nil, &bad
	}
	matches = slices.DeleteFunc(matches, func(name string) bool {
		info, err := os.Stat(name)
		return err == nil && info.IsDir() || within.Leaves(filepath.Dir(name), bounds)
	})
	if len(matches) == 0 {
		bad := newProblem(at, emptyGlob)
		return nil, &bad
	}
	return matches, nil
}

// distinct returns files without those that are the same file as an earlier one,
// by whatever path.
func distinct(files []string) []string {
	var kept []string
	names, infos := map[string]bool{}, map[int64][]os.FileInfo{} // by size, since there may be thousands
	for _, file := range files {
		if names[file] {
			continue
		}
		names[file] = true
		if info, err := os.Stat(file); file != stdinName && err == nil {
			same := infos[info.Size()]
			if slices.ContainsFunc(same, func(i os.FileInfo) bool { return os.SameFile(i, info) }) {
				continue
			}
			infos[info.Size()] = append(same, info)
		}
		kept = append(kept, file)
	}
	return kept
}

// checkRun reports what is wrong with the manifests of a run taken together.
func checkRun(all []Manifest) []problem {
	type id struct{ app, name string }
	var found []problem
	seen := map[id]Position{}
	needs, ports := 0, 0
	for _, m := range all {
		for _, p := range m.Ports {
			if needs++; needs == maxNeeds+1 {
				found = append(found, newProblem(p.At, tooManyNeeds))
			}
			size := 0
			if p.Ports.First != 0 {
				size = p.Ports.Len()
			}
			if ports += size; ports > maxPorts && ports-size <= maxPorts {
				found = append(found, newProblem(p.At, tooManyPorts))
			}
			if m.App == "" || p.Name == "" {
				continue
			}
			key := id{m.App, p.Name}
			if at, ok := seen[key]; ok {
				found = append(found, newProblem(p.At, sameNeed, quote(m.App+"/"+p.Name), clip(at.String(), 3*quoteMax)))
				continue
			}
			seen[key] = p.At
		}
	}
	return found
}
