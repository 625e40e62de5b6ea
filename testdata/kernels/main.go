// Command kernels makes situations on the kernel that runs it, and compares the
// verdicts of portcheck with what an app and its clients then meet there. It shares
// no code with portcheck. .ci/kernels runs it in virtual machines and in gVisor.
//
//	kernels PORTCHECK LABEL SEES
//	kernels clock PORTCHECK
//
// SEES is what portcheck can see there:
//
//	all     every socket and its holder
//	listed  every socket but those that are bound and do not listen
//	some    as listed, and not whether a socket on [::] serves IPv4 as well
//
// With "clock" it sets the machine's clock beside a watch and a lease.
//
// It prints a line for each wrong verdict, and a row for docs/platforms.md. The exit
// code is 1 if a verdict was wrong.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	wrong, err := run(os.Args[1:])
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "kernels:", err)
		os.Exit(2)
	case wrong:
		os.Exit(1)
	}
}

func run(args []string) (wrong bool, err error) {
	if len(args) > 2 && args[0] == "hold" {
		numbers := make([]int, len(args)-1)
		for i := range numbers {
			if numbers[i], err = strconv.Atoi(args[i+1]); err != nil {
				return false, err
			}
		}
		return false, hold(numbers[0], numbers[1:])
	}
	if len(args) == 2 && args[0] == "clock" {
		return false, setClocks(args[1])
	}
	if len(args) != 3 || !slices.Contains([]string{"all", "listed", "some"}, args[2]) {
		return false, errors.New("usage: kernels PORTCHECK LABEL all|listed|some")
	}
	dir, err := os.MkdirTemp("", "kernels")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	t := &tally{portcheck: args[0], dir: dir, sees: args[2]}
	for i, s := range situations() {
		for _, protocol := range s.protocols() {
			if err := t.judge(i, s, protocol); err != nil {
				return false, fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return false, err
	}
	fmt.Printf("| %s | %s | %d | %d | %d | %d | %d |\n", args[1], unix.ByteSliceToString(name.Release[:]), t.situations, t.verdicts, t.wrong, t.unknown, t.unnamed)
	return t.wrong > 0, nil
}

// tally counts what was compared.
type tally struct {
	portcheck, dir, sees                          string
	situations, verdicts, wrong, unknown, unnamed int
	next                                          int // port
}

// result is the part of a result of portcheck that is compared.
type result struct {
	Status  string
	Message string
	Holders []struct{ PID int }
	Notices []struct{ Code, Message string }
}

// judge compares the verdicts on all needs in one situation.
func (t *tally) judge(index int, s situation, protocol string) error {
	all := needs(protocol)
	ports := make([]int, len(all))
	words := []string{"hold", strconv.Itoa(index)}
	for i := range ports {
		ports[i] = 10000 + t.next
		t.next++
		words = append(words, strconv.Itoa(ports[i]))
	}
	holder := exec.Command("/proc/self/exe", words...)
	holder.Stderr = os.Stderr
	stdin, err := holder.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := holder.StdoutPipe()
	if err != nil {
		return err
	}
	if err := holder.Start(); err != nil {
		return err
	}
	defer func() {
		_ = stdin.Close()
		_ = holder.Wait()
	}()
	var said string
	if err := json.NewDecoder(stdout).Decode(&said); err != nil {
		return fmt.Errorf("the holder says nothing: %w", err)
	}
	switch said {
	case "":
	case noFamily:
		return nil
	default:
		return errors.New(said)
	}
	results, err := t.ask(all, ports)
	if err != nil {
		return err
	}
	t.situations++
	for i, n := range all {
		truth, err := n.truth(ports[i])
		if err != nil {
			return err
		}
		t.compare(s, n, results[i], truth, holder.Process.Pid)
	}
	if s.unlisted {
		return t.compareFree(s, ports[0])
	}
	return nil
}

// compareFree counts what `portcheck free` says of a port that a socket has bound.
func (t *tally) compareFree(s situation, port int) error {
	t.verdicts++
	out, err := exec.Command(t.portcheck, "free", "--range", strconv.Itoa(port)).Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == 1 && len(out) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("portcheck free: %w", err)
	}
	t.wrong++
	fmt.Printf("WRONG: %s: portcheck free prints %s\n", s.name, out)
	return nil
}

// compare counts one verdict.
func (t *tally) compare(s situation, n need, r result, truth string, holder int) {
	t.verdicts++
	named := s.nobody || slices.ContainsFunc(r.Holders, func(h struct{ PID int }) bool { return h.PID == holder })
	taken := truth == "in-use" || truth == "shadowed" || truth == "listening"
	reason := fmt.Sprint(r.Message, r.Notices)
	wrong := ""
	switch {
	case r.Status == "unknown":
		t.unknown++
		open := strings.Contains(reason, "accepts IPv4 as well") || strings.Contains(reason, "table can't be read")
		if t.sees != "some" || !open {
			wrong = "it could be known"
		}
	case r.Status != truth && !(untried(n) && r.Status == "shadowed" && truth == "in-use"):
		wrong = "it is not"
	case taken && !named:
		t.unnamed++
		noTable := t.sees == "some" && strings.Contains(reason, "could not be read")
		notShown := (t.sees == "some" || t.sees == "listed" && s.unlisted) && strings.Contains(reason, "do not listen")
		if !noTable && !notShown {
			wrong = "the holder is not named"
		}
	}
	if wrong != "" {
		t.wrong++
		fmt.Printf("WRONG: %s: %s is %s, and portcheck says %s: %s: %s\n", s.name, n, truth, r.Status, r.Message, wrong)
	}
}

// untried reports whether portcheck does not bind beside a listener, because the
// options of the need could let it share the port.
func untried(n need) bool { return n.options.share || n.protocol == udp && n.options.reuse }

func (n need) String() string {
	expect := "free"
	if n.listening {
		expect = "listening"
	}
	return fmt.Sprintf("%s %s %s%s", expect, n.protocol, n.address, n.options)
}

// ask runs portcheck once with all needs.
func (t *tally) ask(all []need, ports []int) ([]result, error) {
	var text strings.Builder
	text.WriteString("version: 1\napp: kernels\nports:\n")
	for i, n := range all {
		expect := ", socket: {reuse_address: " + strconv.FormatBool(n.options.reuse) + ", reuse_port: " + strconv.FormatBool(n.options.share) + "}"
		if n.listening {
			expect = ", expect: listening"
		}
		fmt.Fprintf(&text, "  - {name: n%d, port: %d, protocol: %s, address: \"%s\"%s}\n", i, ports[i], n.protocol, n.address, expect)
	}
	file := filepath.Join(t.dir, "portcheck.yml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(t.portcheck, "-t", "local", "-f", "json", file)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	var report struct {
		Results []result
		Targets []struct {
			Notices []struct{ Message string }
		}
	}
	if bad := json.Unmarshal(out, &report); bad != nil || len(report.Results) != len(all) {
		return nil, fmt.Errorf("portcheck: %w: %s%s", errors.Join(err, bad), out, problems.Bytes())
	}
	if t.situations == 0 {
		for _, target := range report.Targets {
			for _, n := range target.Notices {
				fmt.Println("portcheck says:", n.Message)
			}
		}
	}
	return report.Results, nil
}
