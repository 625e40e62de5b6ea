// Command mutants measures what the tests notice. It makes small faults in the
// code, one at a time and without touching the files, and runs the tests of the
// package with each of them.
//
//	go run ./testdata/mutants                     # 200 mutants of all packages
//	go run ./testdata/mutants -n 60 check port    # 60 of two packages
//	go run ./testdata/mutants -list report        # every mutant that it can make
//
// The sample depends on the seed and on the code alone. A mutant that does not
// compile is replaced by the next one. A mutant is killed if a test fails, or
// does not end in time. What survives is printed with its reason from
// survivors.txt, if it has one there.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"
)

// floor is the share of mutants, in percent, that must be killed in each
// package. In these, its own tests must do so.
var floor = map[string]int{"check": 92, "port": 92, "config": 92, "host": 92, "report": 92}

// elsewhere is the share in all other packages. There, the suites count too.
const elsewhere = 85

// suites are tests outside of a package that run its code.
var suites = map[string][]string{
	"ci":                         {"./cli", "./internal/acceptance"},
	"cli":                        {"./internal/overssh", "./internal/hooks", "./internal/pipelines", "./internal/acceptance", "."},
	"host/wire":                  {"./transport", "./internal/overssh"},
	"transport":                  {"./internal/overssh", "./internal/acceptance"},
	"transport/internal/engine":  {"./transport", "./internal/acceptance"},
	"transport/internal/sshlink": {"./internal/overssh"},
}

func main() {
	var (
		n       = flag.Int("n", 200, "how many mutants to try")
		seed    = flag.Uint64("seed", 1, "of the sample")
		workers = flag.Int("workers", 2, "mutants that are tried at the same time")
		limit   = flag.Duration("timeout", 5*time.Minute, "of one run of tests")
		list    = flag.Bool("list", false, "print all mutants and try none")
	)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Args(), *n, *seed, *workers, *limit, *list); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, packages []string, n int, seed uint64, workers int, limit time.Duration, list bool) error {
	all, err := findMutants(packages)
	if err != nil {
		return err
	}
	if list {
		for _, m := range all {
			fmt.Println(m)
		}
		return nil
	}
	reasons, err := readReasons("testdata/mutants/survivors.txt")
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(seed, 0))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	tried := try(ctx, all, n, workers, limit)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return report(tried, reasons)
}

// try runs the tests with mutants, in their order, until n of them compiled.
func try(ctx context.Context, all []mutant, n, workers int, limit time.Duration) []mutant {
	var (
		mu    sync.Mutex
		tried []mutant
		next  int
		busy  int
	)
	// take returns the next mutant, unless those under way may be enough.
	take := func() (mutant, bool) {
		for {
			mu.Lock()
			switch {
			case next == len(all) || len(tried) >= n || ctx.Err() != nil:
				mu.Unlock()
				return mutant{}, false
			case len(tried)+busy < n:
				m := all[next]
				next++
				busy++
				mu.Unlock()
				return m, true
			}
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
		}
	}
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for {
				m, ok := take()
				if !ok {
					return
				}
				m.fate = m.try(ctx, limit)
				mu.Lock()
				busy--
				if m.fate != invalid {
					tried = append(tried, m)
					fmt.Fprintf(os.Stderr, "%d/%d %s: %s\n", len(tried), n, m.fate, m)
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return tried
}

// report prints the survivors and a table of packages. The error names those
// that are below their floor.
func report(tried []mutant, reasons map[string]string) error {
	type count struct{ killed, all int }
	counts := map[string]count{}
	slices.SortFunc(tried, func(a, b mutant) int {
		return cmp.Or(strings.Compare(a.file, b.file), cmp.Compare(a.line, b.line), strings.Compare(a.what, b.what))
	})
	fmt.Println("Survivors:")
	for _, m := range tried {
		c := counts[m.pkg]
		c.all++
		if m.fate == killed {
			c.killed++
		} else {
			fmt.Printf("%s\n\t%s\n", m, cmp.Or(reasons[m.key()], "no reason is known: add a test, or a line to testdata/mutants/survivors.txt"))
		}
		counts[m.pkg] = c
	}
	fmt.Println("\npackage                     killed  of  percent  floor")
	var low []string
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c := counts[name]
		want := cmp.Or(floor[name], elsewhere)
		fmt.Printf("%-26s %7d %3d  %6d%%  %4d%%\n", name, c.killed, c.all, 100*c.killed/c.all, want)
		if 100*c.killed < want*c.all {
			low = append(low, name)
		}
	}
	if len(low) > 0 {
		return fmt.Errorf("too few are killed in %s", strings.Join(low, ", "))
	}
	return nil
}

// readReasons reads lines of a mutant's key, a tab and the reason why it may
// survive. Empty lines and lines that begin with # are comments.
func readReasons(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil, nil
	}
	reasons := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, reason, ok := strings.Cut(line, "\t")
		if !ok {
			return nil, fmt.Errorf("%s: no tab in %q", file, line)
		}
		reasons[key] = reason
	}
	return reasons, err
}
