package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const module = "github.com/org/portcheck"

// fate is what became of a mutant.
type fate string

const (
	killed   fate = "killed"
	survived fate = "SURVIVED"
	invalid  fate = "does not compile"
)

// mutant is one fault: the bytes from start to end of a file become text.
type mutant struct {
	pkg, file  string // below the module's root
	line       int
	code       string // the line before the change
	what       string // "== becomes !="
	start, end int
	text       string
	fate       fate
}

func (m mutant) String() string {
	return fmt.Sprintf("%s:%d: %s in: %s", m.file, m.line, m.what, m.code)
}

// key names a mutant in survivors.txt. It has no line number, so that it stays
// valid when other code moves.
func (m mutant) key() string { return m.file + ": " + m.what + " in: " + m.code }

// findMutants returns every mutant of the packages for this system, in a fixed
// order: those given by their path below the module's root, or else all.
func findMutants(only []string) ([]mutant, error) {
	cmd := exec.Command("go", "list", "-f", "{{.ImportPath}}\t{{.Dir}}\t{{join .GoFiles \" \"}}", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	var all []mutant
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		pkg := strings.TrimPrefix(strings.TrimPrefix(fields[0], module), "/")
		switch {
		case len(only) > 0 && !slices.Contains(only, pkg):
			continue
		case len(only) == 0 && (pkg == "" || strings.HasPrefix(pkg, "internal/") && pkg != "internal/panics"):
			continue // the main function, and what serves tests alone
		}
		for _, name := range strings.Fields(fields[2]) {
			file, err := filepath.Rel(root, filepath.Join(fields[1], name))
			if err != nil {
				return nil, err
			}
			found, err := mutantsOf(file)
			if err != nil {
				return nil, err
			}
			for _, m := range found {
				m.pkg = pkg
				all = append(all, m)
			}
		}
	}
	return all, nil
}

// finder collects the mutants of one file.
type finder struct {
	fset *token.FileSet
	file string
	src  []byte
	all  []mutant
	// errorLast holds for each function under way whether its last result is an error.
	errorLast []bool
}

func mutantsOf(file string) ([]mutant, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	f := finder{fset: token.NewFileSet(), file: file, src: src}
	tree, err := parser.ParseFile(f.fset, file, src, 0)
	if err != nil {
		return nil, err
	}
	for _, d := range tree.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
			f.function(fn.Type, fn.Body)
			continue
		}
		ast.Inspect(d, f.visit)
	}
	return f.all, nil
}

func (f *finder) function(t *ast.FuncType, body *ast.BlockStmt) {
	last := false
	if t.Results != nil && len(t.Results.List) > 0 {
		name, ok := t.Results.List[len(t.Results.List)-1].Type.(*ast.Ident)
		last = ok && name.Name == "error"
	}
	f.errorLast = append(f.errorLast, last)
	ast.Inspect(body, f.visit)
	f.errorLast = f.errorLast[:len(f.errorLast)-1]
}

// swaps are the operators that are replaced.
var swaps = map[token.Token][]token.Token{
	token.EQL: {token.NEQ}, token.NEQ: {token.EQL},
	token.LSS: {token.LEQ, token.GEQ}, token.LEQ: {token.LSS, token.GTR},
	token.GTR: {token.GEQ, token.LEQ}, token.GEQ: {token.GTR, token.LSS},
	token.LAND: {token.LOR}, token.LOR: {token.LAND},
	token.ADD: {token.SUB}, token.SUB: {token.ADD},
}

func (f *finder) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ImportSpec:
		return false
	case *ast.FuncLit:
		f.function(n.Type, n.Body)
		return false
	case *ast.BinaryExpr:
		for _, to := range swaps[n.Op] {
			f.add(n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), to.String(), n.Op.String()+" becomes "+to.String())
		}
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			f.add(n.OpPos, n.OpPos+1, "", "! is removed")
		}
	case *ast.IfStmt:
		switch n.Cond.(type) {
		case *ast.Ident, *ast.CallExpr, *ast.SelectorExpr:
			f.add(n.Cond.Pos(), n.Cond.Pos(), "!", "the condition is negated")
		}
	case *ast.BasicLit:
		if v, err := strconv.ParseUint(n.Value, 0, 32); n.Kind == token.INT && err == nil && v > 1 {
			f.add(n.Pos(), n.End(), strconv.FormatUint(v+1, 10), n.Value+" becomes "+strconv.FormatUint(v+1, 10))
		}
	case *ast.ReturnStmt:
		f.returned(n)
	case *ast.ExprStmt:
		if call, ok := n.X.(*ast.CallExpr); ok && !isPanic(call) {
			f.add(n.Pos(), n.End(), "", "the call is removed")
		}
	case *ast.DeferStmt:
		return false // mostly closes something, of which no user notices anything
	}
	return true
}

// returned makes an error that is returned nil.
func (f *finder) returned(r *ast.ReturnStmt) {
	if len(f.errorLast) == 0 || !f.errorLast[len(f.errorLast)-1] || len(r.Results) == 0 {
		return
	}
	last := r.Results[len(r.Results)-1]
	if name, ok := last.(*ast.Ident); ok && name.Name == "nil" {
		return
	}
	if _, ok := last.(*ast.CallExpr); ok && len(r.Results) == 1 {
		text := string(f.src[f.offset(last.Pos()):f.offset(last.End())])
		if !strings.HasPrefix(text, "fmt.Errorf") && !strings.HasPrefix(text, "errors.") {
			return // may be a call with several results, or do more than make an error
		}
	}
	f.add(last.Pos(), last.End(), "nil", "the error becomes nil")
}

func isPanic(call *ast.CallExpr) bool {
	name, ok := call.Fun.(*ast.Ident)
	return ok && name.Name == "panic"
}

func (f *finder) offset(p token.Pos) int { return f.fset.Position(p).Offset }

func (f *finder) add(from, to token.Pos, text, what string) {
	at := f.fset.Position(from)
	begin := at.Offset - (at.Column - 1)
	code, _, _ := strings.Cut(string(f.src[begin:]), "\n")
	f.all = append(f.all, mutant{
		file: f.file, line: at.Line, code: strings.TrimSpace(code), what: what,
		start: at.Offset, end: f.offset(to), text: text,
	})
}

// quickLimit is the time limit of the quick tests, which take seconds.
const quickLimit = time.Minute

// try runs the tests with the mutant: those of the package, first the quick
// ones, then the suites that count for it.
func (m mutant) try(ctx context.Context, limit time.Duration) fate {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(dir)
	if err != nil {
		panic(err)
	}
	if f := test(ctx, overlay, min(limit, quickLimit), []string{"-short", "./" + m.pkg}); f != survived {
		return f
	}
	for _, pkg := range append([]string{"./" + m.pkg}, suites[m.pkg]...) {
		if f := test(ctx, overlay, limit, []string{pkg}); f != survived {
			return f
		}
	}
	return survived
}

// overlay writes the mutant's file and an overlay in which it replaces ours.
func (m mutant) overlay(dir string) (string, error) {
	src, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	changed := filepath.Join(dir, "mutant.go")
	if err := os.WriteFile(changed, slices.Concat(src[:m.start], []byte(m.text), src[m.end:]), 0o600); err != nil {
		return "", err
	}
	original, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// memory is in KiB: what one process may map. A mutant can allocate without end.
const memory = 12 << 20

// test runs go test with an overlay, which holds for executables that tests
// build, too. The tests run as a group of processes, which is ended as a whole.
func test(ctx context.Context, overlay string, limit time.Duration, args []string) fate {
	args = append([]string{"-c", `ulimit -v "$1" && shift && exec "$@"`, "sh", strconv.Itoa(memory), "go", "test", "-count=1", "-vet=off", "-failfast", "-timeout=" + limit.String()}, args...)
	// The deadline of the tests themselves comes first: it ends what they started.
	ctx, cancel := context.WithTimeout(ctx, limit+30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", args...)
	cmd.Env = append(os.Environ(), "GOFLAGS=-overlay="+overlay)
	cmd.WaitDelay = 5 * time.Second
	inOwnGroup(cmd)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return survived
	case !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay):
		panic(fmt.Sprintf("go test can't be run: %v", err))
	case strings.Contains(out.String(), "[build failed]"):
		return invalid
	}
	return killed
}
