package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	watchedAt = "127.0.0.1:8080"
	metricsAt = "127.0.0.1:9464"
	patience  = time.Minute // a machine without KVM is slow
	lifetime  = 30 * time.Second
	watchFor  = 40 * time.Second
	nearly    = 20 * time.Second // how far a time may be from the clock's
)

// event is what is read of an event of a watch.
type event struct {
	Time  time.Time
	Event string
	Port  int
}

// setClocks sets the clock of this machine while a watch and a lease are there. Nothing
// happens to them: a watch tells what changes, with times by the clock as it is set, and
// both last as long as they were asked to.
func setClocks(portcheck string) error {
	c := &clocks{portcheck: portcheck, events: make(chan event, 100)}
	var said bytes.Buffer
	watch := exec.Command(portcheck, "watch", "-p", "8080", "--interval", "200ms", "-f", "json", "--metrics", metricsAt, "--until", watchFor.String())
	watch.Stderr = &said
	out, err := watch.StdoutPipe()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := watch.Start(); err != nil {
		return err
	}
	go c.read(out)
	if err = c.steps(); err != nil {
		err = errors.Join(err, watch.Process.Kill())
	}
	err = errors.Join(err, watch.Wait()) // the port is free at the end, so the need is met
	lasted := time.Since(start)
	switch text := said.String(); {
	case err != nil:
		return fmt.Errorf("%w\nstderr of watch:\n%s", err, text)
	case lasted < watchFor, lasted > watchFor+patience:
		return fmt.Errorf("a watch --until %s lasted %s", watchFor, lasted)
	case strings.Count(text, "the clock ") != 2, !strings.Contains(text, "gone forward by 24h0m"), !strings.Contains(text, "set back by 26h0m"):
		return fmt.Errorf("steps of the clock are not said once each:\n%s", text)
	case len(c.events) > 0:
		return fmt.Errorf("an event that nothing has caused: %+v", <-c.events)
	}
	fmt.Printf("clock: set twice under a watch, which lasted %s\n", lasted.Round(time.Second))
	return nil
}

type clocks struct {
	portcheck string
	events    chan event
}

// read reads events.
func (c *clocks) read(out io.Reader) {
	defer close(c.events)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			c.events <- e
		}
	}
}

// steps sets the clock while a listener comes and goes.
func (c *clocks) steps() error {
	if err := c.expect("met"); err != nil {
		return err
	}
	leased := time.Now()
	manifest := filepath.Join(os.TempDir(), "portcheck.yml")
	if err := os.WriteFile(manifest, []byte("version: 1\napp: shop\nports: [{name: web, port: auto, range: 20000-20999}]\n"), 0o600); err != nil {
		return err
	}
	if out, err := exec.Command(c.portcheck, "assign", manifest, "--for", lifetime.String()).CombinedOutput(); err != nil {
		return fmt.Errorf("assign: %w\n%s", err, out)
	}
	if err := c.listener(func() error { return setClock(24 * time.Hour) }); err != nil {
		return err
	}
	if err := setClock(-26 * time.Hour); err != nil {
		return err
	}
	if err := c.listener(func() error { return nil }); err != nil {
		return err
	}
	return c.leaseEnds(leased)
}

// listener has a listener come and go, and something happen while it is there.
func (c *clocks) listener(meanwhile func() error) error {
	l, err := net.Listen("tcp4", watchedAt)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := c.expect("taken", "unmet"); err != nil {
		return err
	}
	if err := meanwhile(); err != nil {
		return err
	}
	if err := c.timesOfMetrics(); err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return err
	}
	return c.expect("freed", "met")
}

// expect waits for events of the port. Their times are the clock's.
func (c *clocks) expect(kinds ...string) error {
	for _, kind := range kinds {
		select {
		case e, more := <-c.events:
			if !more {
				return fmt.Errorf("the watch has ended before %s", kind)
			}
			if off := time.Now().Round(0).Sub(e.Time); e.Event != kind || e.Port != 8080 || off.Abs() > nearly {
				return fmt.Errorf("event %+v at %s, want %s", e, time.Now().UTC(), kind)
			}
		case <-time.After(patience):
			return fmt.Errorf("no event %s", kind)
		}
	}
	return nil
}

// timesOfMetrics compares the times in the metrics with the clock.
func (c *clocks) timesOfMetrics() error {
	client := http.Client{Timeout: patience}
	for _, page := range []string{"healthz", "metrics"} {
		r, err := client.Get("http://" + metricsAt + "/" + page)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s %w", page, r.Status, err)
		}
		if page == "healthz" {
			continue
		}
		times := regexp.MustCompile(`(?m)^portcheck_(?:need_since|round_timestamp)_seconds\{.*\} (\S+)$`).FindAllSubmatch(text, -1)
		if len(times) != 2 {
			return fmt.Errorf("metrics have %d times:\n%s", len(times), text)
		}
		for _, m := range times {
			seconds, err := strconv.ParseFloat(string(m[1]), 64)
			if off := time.Now().Round(0).Sub(time.UnixMilli(int64(1000 * seconds))); err != nil || off.Abs() > nearly {
				return fmt.Errorf("%s is %s off (%w)", m[0], off, err)
			}
		}
	}
	return nil
}

// leaseEnds waits for the end of a lease, which says when that is by the clock as it is set.
func (c *clocks) leaseEnds(leased time.Time) error {
	for {
		out, err := exec.Command(c.portcheck, "leases", "-f", "json").Output()
		var list struct{ Leases []struct{ Expires time.Time } }
		if err = errors.Join(err, json.Unmarshal(out, &list)); err != nil {
			return fmt.Errorf("leases: %w\n%s", err, out)
		}
		age := time.Since(leased)
		switch {
		case len(list.Leases) == 0 && age < lifetime:
			return fmt.Errorf("a lease for %s ended after %s", lifetime, age)
		case len(list.Leases) == 0:
			return nil
		case age > lifetime+patience:
			return fmt.Errorf("a lease for %s is there after %s: %s", lifetime, age, out)
		}
		if left := time.Until(list.Leases[0].Expires.Round(0)); (left - (lifetime - age)).Abs() > nearly {
			return fmt.Errorf("a lease that ends in %s says in %s", lifetime-age, left)
		}
		time.Sleep(time.Second)
	}
}

// setClock moves the clock.
func setClock(by time.Duration) error {
	t := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &t)
}
