//go:build linux

package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/org/portcheck/cli"
	"github.com/org/portcheck/internal/testbed"
)

func TestMain(m *testing.M) {
	testbed.Main(m, map[string]func([]string) error{
		"furnish": func([]string) error { return testbed.Furnish() },
		"pair":    runPair,
		"holder":  runHolder,
		"heir":    runHeir,
		"taker":   runTaker,
		"peer":    runPeer,
		"server":  runServer,
		"portcheck": func(args []string) error {
			os.Exit(cli.Run(context.Background(), args, os.Environ(), os.Stdin, os.Stdout, os.Stderr))
			return nil
		},
	})
}

// fullEnv selects the whole matrix. By default a fifth of it runs, and one pair
// for each situation under -short.
const fullEnv = "PORTCHECK_ORACLE"

// atOnce is how many pairs run at the same time. Most of them wait: nginx retries
// a port that is in use for 2.5 seconds.
const atOnce = 8

var users = []string{"root", "nobody"}

// pair is one cell of the matrix.
type pair struct {
	situation, server, user string
	finding
	err error
}

func (p *pair) String() string { return p.situation + " / " + p.server + " / " + p.user }

func TestWhatPortcheckSaysIsWhatServersThenDo(t *testing.T) {
	testbed.NeedRoot(t)
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			testbed.Missing(t, err.Error())
		}
	}
	if _, err := testbed.TryAlone("furnish"); err != nil {
		testbed.Missing(t, fmt.Sprintf("namespaces can't be made here: %v", err))
	}
	var present []server
	for _, s := range servers() {
		t.Run(s.name, func(t *testing.T) {
			needPrograms(t, s)
			present = append(present, s)
		})
	}
	all := pairs(present)
	judgeAll(t, all, workDirs(t))
	summarize(t, all)
}

// workDirs creates a directory that every user can enter, with the directories
// work and classes in it. The latter has the compiled Java server.
func workDirs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != filepath.Clean(os.TempDir()); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "work"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("javac"); err == nil && !testing.Short() {
		if out, err := exec.Command("javac", "-d", filepath.Join(dir, "classes"), "testdata/Server.java").CombinedOutput(); err != nil {
			t.Fatalf("javac: %v\n%s", err, out)
		}
	}
	return dir
}

// needPrograms skips a server if its program is missing on this machine. Under
// -short it skips all servers but those of this test binary.
func needPrograms(t *testing.T, s server) {
	t.Helper()
	name := s.argv[0]
	if name == "SELF" {
		return
	}
	testbed.Slow(t, "starts "+name)
	tools := []string{name}
	if name == "java" {
		tools = append(tools, "javac")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			testbed.Missing(t, err.Error())
		}
	}
}

// pairs returns the part of the matrix that runs. Every part has all situations
// and all servers.
func pairs(servers []server) []*pair {
	inSample := func(situation, server, user int) bool { return (situation+server+2*user)%5 == 0 }
	switch {
	case testing.Short():
		inSample = func(situation, server, user int) bool {
			return server == situation%len(servers) && user == situation/len(servers)%len(users)
		}
	case os.Getenv(fullEnv) == "full":
		inSample = func(int, int, int) bool { return true }
	}
	var all []*pair
	for i, situation := range situations() {
		for j, server := range servers {
			for k, user := range users {
				if inSample(i, j, k) {
					all = append(all, &pair{situation: situation.name, server: server.name, user: user})
				}
			}
		}
	}
	return all
}

func judgeAll(t *testing.T, all []*pair, dir string) {
	t.Helper()
	var wait sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, p := range all {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			out, err := testbed.TryAlone("pair", p.situation, p.server, p.user, filepath.Join(dir, "work"), filepath.Join(dir, "classes"))
			if err == nil {
				err = json.Unmarshal(out, &p.finding)
			}
			p.err = err
		})
	}
	wait.Wait()
}

// tally sums up the findings of all pairs.
type tally struct {
	situations, servers     map[string]bool
	judged                  int
	cells                   map[string]int
	asRoot, withoutRoot     struct{ named, there int }
	outrun                  []string // pairs in which the server runs and loses clients to an earlier socket
	wrongWords, wrongOthers []string
}

func count(all []*pair) tally {
	c := tally{situations: map[string]bool{}, servers: map[string]bool{}, cells: map[string]int{}}
	for _, p := range all {
		if p.err != nil {
			c.wrongOthers = append(c.wrongOthers, fmt.Sprintf("%s: %v", p, p.err))
			continue
		}
		c.judged++
		c.situations[p.situation], c.servers[p.server] = true, true
		if p.Up && !p.Moved && !p.Reached {
			c.outrun = append(c.outrun, p.String())
		}
		for _, w := range p.Words {
			cell := "true-"
			if w.OK != p.mayBind() {
				cell = "false-"
			}
			if w.OK {
				cell += "free"
			} else {
				cell += "taken"
			}
			c.cells[cell]++
			if w.OK != p.mayBind() {
				c.wrongWords = append(c.wrongWords, fmt.Sprintf("%s: %s, asked by %s: up %t, reached %t, clients moved %t; portcheck: %s\n%s",
					cell, p, w.View, p.Up, p.Reached, p.Moved, strings.Join(w.Verdicts, "; "), p.Log))
			}
			for _, wrong := range w.Wrong {
				c.wrongOthers = append(c.wrongOthers, fmt.Sprintf("%s, asked by %s: %s", p, w.View, wrong))
			}
			holders := &c.asRoot
			if w.View == itself {
				holders = &c.withoutRoot
			}
			holders.named += w.Named
			holders.there += w.There
		}
	}
	return c
}

// summarize logs the confusion matrix and fails the test for every wrong answer.
func summarize(t *testing.T, all []*pair) {
	t.Helper()
	c := count(all)
	for _, wrong := range append(c.wrongWords, c.wrongOthers...) {
		t.Error(wrong)
	}
	answers := 0
	for _, n := range c.cells {
		answers += n
	}
	t.Logf("%d situations x %d servers x %d users: %d pairs judged, %d answers of portcheck", len(c.situations), len(c.servers), len(users), c.judged, answers)
	t.Logf("true-free %d, true-taken %d, false-free %d, false-taken %d", c.cells["true-free"], c.cells["true-taken"], c.cells["false-free"], c.cells["false-taken"])
	t.Logf("holders of taken ports named: %d of %d as root, %d of %d without root",
		c.asRoot.named, c.asRoot.there, c.withoutRoot.named, c.withoutRoot.there)
	t.Logf("%d servers would run and lose clients to an earlier socket:\n%s", len(c.outrun), strings.Join(c.outrun, "\n"))
}
