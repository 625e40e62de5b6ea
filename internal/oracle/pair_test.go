//go:build linux

package oracle

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

// finding is the result of one situation, server and user.
type finding struct {
	Up      bool // the server holds all endpoints of its needs
	Reached bool // and all clients reach it
	Moved   bool // and some client of an earlier listener reaches another one
	Words   []word
	Log     string // of the server
}

// mayBind reports whether the server works, which is what portcheck has to
// predict.
func (f finding) mayBind() bool { return f.Up && f.Reached && !f.Moved }

// word is portcheck's answer to one view.
type word struct {
	View         string
	OK           bool
	Verdicts     []string // status and message of each need
	Named, There int      // holders of taken ports: in the report, and in truth
	Wrong        []string // errors about the holders
}

// runPair is the program for one pair. args are the situation, the server, the
// user, a directory to mount on, and one with Java's classes.
func runPair(args []string) error {
	f, err := judge(args[0], args[1], args[2], args[3], args[4])
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

func judge(situationName, serverName, user, dir, classes string) (finding, error) {
	var f finding
	situation, err := findSituation(situationName)
	if err != nil {
		return f, err
	}
	server, err := findServer(serverName)
	if err != nil {
		return f, err
	}
	if err := testbed.Furnish(); err != nil {
		return f, err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=1777"); err != nil {
		return f, fmt.Errorf("mount %s: %w", dir, err)
	}
	w := &world{dir: dir, uid: map[string]int{"root": rootID, "nobody": nobodyID}[user]}
	if situation.devices || server.devices {
		if err := w.addDevices(); err != nil {
			return f, err
		}
	}
	if err := w.arrange(situation); err != nil {
		return f, err
	}

	before, err := w.call(server.greeting)
	if err != nil {
		return f, fmt.Errorf("before: %w", err)
	}
	if err := w.consult(server, &f); err != nil {
		return f, err
	}
	if f.Up, err = w.start(server, classes); err != nil {
		return f, err
	}
	after, err := w.call(server.greeting)
	if err != nil {
		return f, fmt.Errorf("after: %w", err)
	}
	f.Reached = reached(after, server.endpoints())
	f.Moved = moved(before, after)
	f.Log = w.log()
	return f, nil
}

// consult asks portcheck from every view and checks that this changes nothing.
func (w *world) consult(s server, f *finding) error {
	before, err := kernelTable()
	if err != nil {
		return err
	}
	for _, v := range viewsOf(w.uid) {
		told, err := w.word(s, v)
		if err != nil {
			return err
		}
		f.Words = append(f.Words, told)
	}
	after, err := kernelTable()
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(before, after) {
		return fmt.Errorf("portcheck altered the port: before %+v, after %+v", before, after)
	}
	return nil
}

func (w *world) word(s server, v view) (word, error) {
	said := word{View: v.name}
	plain, err := w.ask(s, v, "")
	if err != nil {
		return said, err
	}
	said.OK = plain.ok()
	for i, r := range plain.Results {
		said.Verdicts = append(said.Verdicts, r.Status+": "+r.Message)
		if r.taken() {
			said.compareHolders(r, v, w.holders(s.needs[i]), false)
		}
	}
	if v.uid == rootID {
		listed, err := w.listed()
		if err != nil {
			return said, err
		}
		there, err := w.listeners()
		if err != nil {
			return said, err
		}
		if !slices.Equal(listed, there) {
			said.Wrong = append(said.Wrong, fmt.Sprintf("list names %v, there listen %v", listed, there))
		}
	}
	if said.OK || v.uid != rootID {
		return said, nil
	}
	// With an owner, portcheck inspects every process.
	owned, err := w.ask(s, v, "{process: no-such-owner}")
	if err != nil {
		return said, err
	}
	for i, r := range owned.Results {
		if r.taken() {
			said.compareHolders(r, v, w.holders(s.needs[i]), true)
		}
		if r.OK != plain.Results[i].OK {
			said.Wrong = append(said.Wrong, fmt.Sprintf("with an owner: %s: %s", r.Status, r.Message))
		}
	}
	return said, nil
}

// compareHolders compares the holders in the report with those of the situation.
// As root all have to be named. A wrong one may never be named.
func (said *word) compareHolders(r result, v view, there []int, all bool) {
	named := r.pids()
	wrong := slices.ContainsFunc(named, func(pid int) bool { return !slices.Contains(there, pid) })
	stoppedEarly := r.Complete != nil && !*r.Complete
	missing := v.uid == rootID && len(named) < len(there) && (all || !stoppedEarly || len(named) == 0)
	if wrong || missing {
		said.Wrong = append(said.Wrong, fmt.Sprintf("holders %v, there are %v (owner asked for: %t): %s", named, there, all, r.Message))
	}
	if all || v.uid != rootID {
		said.Named += len(named)
		said.There += len(there)
	}
}
