package config

import (
	"cmp"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/org/portcheck/internal/within"
)

// Options are what Load knows of the job.
type Options struct {
	// Bounds are directories out of which no link may lead to a file that is read.
	Bounds []within.Dir
	// Getenv returns a variable for files in which variables are replaced. If it is
	// nil, no variable is set.
	Getenv func(name string) (string, bool)
	// Withheld is set if Getenv leaves out variables: Compose may have those that
	// are required.
	Withheld bool
	// Unfixed, if set, gets the entries that publish no fixed port because a variable
	// has no value.
	Unfixed func(Position)
	// Opened, if set, gets each file that is read.
	Opened func(name string, info fs.FileInfo)
	// Source is the name of the source that reads every file. If it is empty, each
	// file is read as what it is.
	Source string
	// Lint allows sources with the ports of other machines.
	Lint bool
	// EnvFiles replace the file .env beside a Compose file.
	EnvFiles []string
	// Profiles are the active ones of Compose projects, instead of COMPOSE_PROFILES.
	Profiles []string
	// Project is the name of Compose projects, or "".
	Project string

	from      map[string]string      // by Compose file that was discovered: in which directory
	overrides map[string][]string    // by the Compose file that they are merged into
	found     map[string]bool        // the Compose files that need not publish a port
	outside   map[string]*within.Dir // by file that another one names: what it is outside of
	named     map[string]string      // by file that a Compose file includes or extends: that file
	spent     *budget
	listedAt  *Position // if set, gets where a .env file has COMPOSE_FILE
}

// SetProject makes files one Compose project: Load reads all of them if it reads the
// first one.
func (o *Options) SetProject(files []string) {
	if o.overrides == nil {
		o.overrides = map[string][]string{}
	}
	o.overrides[files[0]] = files[1:]
}

// SetDiscovered is SetProject for the Compose files that Discover has returned for a
// directory: the file .env there has precedence over that of the project.
func (o *Options) SetDiscovered(dir string, d Discovered) {
	o.SetProject(append([]string{d.File}, d.Overrides...))
	if o.from == nil {
		o.from = map[string]string{}
	}
	o.from[d.File] = dir
}

// AddFound adds files that Find has returned: a Compose file among them is read with its
// override, and need not publish a port.
func (o *Options) AddFound(files []string) []Problem {
	var bad []problem
	for _, file := range files {
		if !slices.Contains(composeNames, filepath.Base(file)) {
			continue
		}
		overrides, found := existing(filepath.Dir(file), overrideNames)
		bad = append(bad, found...)
		o.SetProject(append([]string{file}, overrides[:min(len(overrides), 1)]...))
		if o.found == nil {
			o.found = map[string]bool{}
		}
		o.found[file] = true
	}
	return withoutKinds(bad)
}

// getenv is Getenv of options that may have none.
func (o Options) getenv(name string) (string, bool) {
	if o.Getenv == nil {
		return "", false
	}
	return o.Getenv(name)
}

// Load reads the manifests that names lists: files, glob patterns, or - for
// stdin. It returns the problems of all of them, and manifests only if there are
// no problems.
func Load(names []string, stdin io.Reader, o Options) ([]Manifest, []Problem) {
	all, found := load(names, stdin, o)
	if len(found) > 0 {
		return nil, withoutKinds(found)
	}
	return all, nil
}

func load(names []string, stdin io.Reader, o Options) ([]Manifest, []problem) {
	files, found := expand(names, o.Bounds)
	order := map[string]int{}
	left := map[string]*within.Dir{} // by file
	var all []Manifest
	limit := new(budget)
	o.spent, o.outside, o.named = limit, map[string]*within.Dir{}, map[string]string{}
	problemsOf := map[string][]problem{}
	count := len(found)
	for i, file := range files {
		order[file] = len(order)
		if i == maxFiles {
			found = append(found, newProblem(Position{File: file}, tooManyFiles))
			break
		}
		limit.files++
		if limit.bytes > maxAllBytes {
			found = append(found, newProblem(Position{File: file}, tooManyBytes))
			break
		}
		if count > maxProblems {
			break
		}
		var data []byte
		var bad []problem
		if file == stdinName {
			data, bad = readAll(file, stdin)
		} else {
			data, left[file], bad = o.readFile(file, o.Bounds)
		}
		limit.bytes += len(data)
		if bad == nil {
			marks, err := effort(data)
			if err == nil { // otherwise the file is refused before it takes any
				limit.marks += marks
			}
			if limit.marks > maxAllMarks {
				found = append(found, newProblem(Position{File: file}, tooManyMarksRun))
				break
			}
			var m Manifest
			m, bad = parse(file, data, o)
			all = append(all, m)
			limit.locate(bad, marks+len(data)/bytesPerMark)
		}
		problemsOf[file] = bad
		count += len(bad)
	}
	all = slices.DeleteFunc(all, func(m Manifest) bool { return o.partOfAnother(m.File, problemsOf) })
	for _, file := range files {
		if !o.partOfAnother(file, problemsOf) {
			found = append(found, problemsOf[file]...)
		}
	}
	o.tellApart(all)
	found = append(found, checkRun(all)...)
	for i, p := range found {
		switch {
		case left[p.File] != nil:
			found[i] = p.withoutValues(*left[p.File], byLink)
		case o.outside[p.File] != nil:
			found[i] = p.withoutValues(*o.outside[p.File], byName)
		}
	}
	slices.SortStableFunc(found, func(a, b problem) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return all, shortened(found)
}

// partOfAnother reports whether a Compose file that was found is read as a part of
// another one, which has no problems, and so is no project of its own.
func (o Options) partOfAnother(file string, problems map[string][]problem) bool {
	by, ok := o.named[filepath.Clean(file)]
	return ok && o.found[file] && by != file && len(problems[by]) == 0
}

// tellApart names the apps of Compose files that were found by their directories where
// several files are of one project: equal services of them are different needs.
func (o Options) tellApart(all []Manifest) {
	files := map[string]int{}
	for _, m := range all {
		files[m.App]++
	}
	for i, m := range all {
		if dir := projectOf(strings.ReplaceAll(filepath.ToSlash(filepath.Dir(m.File)), "/", "-")); o.found[m.File] && files[m.App] > 1 && dir != "" && len(dir) <= labelMax {
			all[i].App = dir
		}
	}
}

// budget is what a run has used of its limits.
type budget struct{ files, bytes, marks, searched int }

// The library takes as long for a mark as for some bytes of plain text.
const (
	bytesPerMark = 16
	maxSearched  = 40_000 // marks: 2 s, as each search reads the file 16 times
)

// locate searches for the exact positions of a file's problems, unless that would
// take the run too long.
func (b *budget) locate(found []problem, marks int) {
	for i, p := range found {
		if p.locate == nil || b.searched+marks > maxSearched {
			continue
		}
		b.searched += marks
		found[i].Position = p.locate()
	}
}

// Files returns the files that Load would read: globs expanded, each file once,
// - for stdin.
func Files(names []string, bounds ...within.Dir) ([]string, []Problem) {
	files, found := expand(names, bounds)
	return files, withoutKinds(found)
}

// expand returns the files that names lists, each once. If they are more than the
// limit of a run, it returns one more than that.
func expand(names []string, bounds []within.Dir) ([]string, []problem) {
	files := fileSet{names: map[string]bool{}, infos: map[stamp][]os.FileInfo{}}
	var found []problem
	for _, name := range names {
		switch {
		case files.full():
			return files.list, found
		case !isGlob(name):
			files.add(name)
		default:
			if bad := glob(name, bounds, &files); bad != nil {
				found = append(found, *bad)
			}
		}
	}
	return files.list, found
}

// isGlob reports whether name is a pattern, and not the name of an existing file.
func isGlob(name string) bool {
	if name == stdinName || !strings.ContainsAny(name, "*?[") {
		return false
	}
	_, err := os.Lstat(name)
	return err != nil
}

// glob adds the files that match a pattern, without directories. It leaves out
// what is in a directory to which a link leads out of the bounds.
func glob(pattern string, bounds []within.Dir, files *fileSet) *problem {
	at := Position{File: pattern}
	// filepath.Glob treats ** as * and would silently miss manifests.
	if strings.Contains(pattern, "**") {
		bad := newProblem(at, deepGlob)
		return &bad
	}
	matches, err := filepath.Glob(pattern)
	if err != nil {
		bad := newProblem(at, badGlob)
		return &bad
	}
	matched := false
	for _, name := range matches {
		if files.full() {
			return nil
		}
		info, err := os.Stat(name)
		if err == nil && info.IsDir() || within.Leaves(filepath.Dir(name), bounds) {
			continue
		}
		files.add(name)
		matched = true
	}
	if !matched {
		bad := newProblem(at, emptyGlob)
		return &bad
	}
	return nil
}

// fileSet is a list of files without those that are the same file as an earlier
// one, by whatever path.
type fileSet struct {
	list  []string
	names map[string]bool
	infos map[stamp][]os.FileInfo // few have the same stamp
}

// stamp is what two paths of one file have in common and other files rarely have.
type stamp struct {
	size     int64
	modified int64
}

// full reports whether there are more files than a run may have.
func (s *fileSet) full() bool { return len(s.list) > maxFiles }

func (s *fileSet) add(file string) {
	if s.names[file] {
		return
	}
	s.names[file] = true
	if info, err := os.Stat(file); file != stdinName && err == nil {
		key := stamp{info.Size(), info.ModTime().UnixNano()}
		if slices.ContainsFunc(s.infos[key], func(i os.FileInfo) bool { return os.SameFile(i, info) }) {
			return
		}
		s.infos[key] = append(s.infos[key], info)
	}
	s.list = append(s.list, file)
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
				kind := sameNeed
				if p.Project != "" {
					kind = sameService
				}
				found = append(found, newProblem(p.At, kind, quote(m.App+"/"+p.Name), clip(at.String(), 3*quoteMax)))
				continue
			}
			seen[key] = p.At
		}
	}
	return found
}
