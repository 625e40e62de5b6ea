package check

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// Anybody can give a socket to a thousand processes, and a manifest can ask about it a
// thousand times. The results of a run list a limited number of them, at least one
// each, and say so; targets that are asked at the same time share what may be in
// their answers.
func TestHoldersOfARun(t *testing.T) {
	const most = 2048 // of each of 16 answers
	var needs []Need
	var targets []Target
	for i := range 64 {
		name := fmt.Sprint("t", i)
		needs = append(needs, needOf("a.yml", "web", onTarget(name)))
		crowd := altered{&sim{taken: set(t, "8080")}, func(f *host.Facts) {
			f.Sockets[0].Holders = slices.Repeat(f.Sockets[0].Holders, most)
		}}
		targets = append(targets, targetOf(name, crowd))
	}
	r := run(t, needs, Options{Parallel: 16}, targets...)
	listed, size := 0, int64(0)
	for _, result := range r.Results {
		n := len(result.Holders)
		listed += n
		for i := range result.Holders {
			size += bytesOf(&result.Holders[i])
		}
		noted := slices.ContainsFunc(result.Notices, func(n Notice) bool { return n.Code == config.Degraded })
		if n == 0 || result.Status != InUse || (n < most) != noted || noted != (result.Complete != nil && !*result.Complete) {
			t.Errorf("%s: %s with %d holders, noted %t, complete %v", result.Target, result.Status, n, noted, result.Complete)
		}
	}
	if size > bytesOfHolders+1024*int64(len(r.Results)) || listed < 4*most {
		t.Errorf("%d holders of %d bytes in all", listed, size)
	}
	if r := run(t, needs[:1], Options{Parallel: 16}, targets[0]); len(r.Results[0].Holders) != most || r.Results[0].Complete != nil {
		t.Errorf("alone: %d holders, complete %v", len(r.Results[0].Holders), r.Results[0].Complete)
	}
	for parallel, want := range map[int]int{1: host.MostHolders, 2: host.MostHolders, 16: most, 64: 512, 256: 512} {
		asked := &sim{}
		targets[0] = targetOf("t0", asked)
		run(t, needs, Options{Parallel: parallel}, targets...)
		if got := asked.asked[0].MostHolders(); got != want {
			t.Errorf("%d targets at a time: each is asked for %d holders, want %d", parallel, got, want)
		}
	}
}

// A report keeps nothing of an answer but what it shows.
func TestReportsKeepNoAnswers(t *testing.T) {
	const size = 1 << 20
	var needs []Need
	var targets []Target
	for i := range 64 {
		name := fmt.Sprint("t", i)
		needs = append(needs, needOf("a.yml", "web", onTarget(name)))
		large := altered{&sim{taken: set(t, "8080")}, func(f *host.Facts) {
			h := f.Sockets[0].Holders[0]
			h.Executable = "/" + strings.Repeat("x", 1024)
			f.Sockets[0].Holders = nil
			for len(f.Sockets[0].Holders) < size/1024 {
				h.Executable = strings.Clone(h.Executable)
				f.Sockets[0].Holders = append(f.Sockets[0].Holders, h)
			}
		}}
		targets = append(targets, targetOf(name, large))
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	r := run(t, needs, Options{Parallel: 1}, targets...)
	kept := heap() - before
	if r.Summary.Errors != len(needs) {
		t.Errorf("%+v", r.Summary)
	}
	if kept > bytesOfHolders+(16<<20) {
		t.Errorf("after %d answers of %d MB the report keeps %d MB", len(targets), size>>20, kept>>20)
	}
	runtime.KeepAlive(r)
}

// A run that has compared many holders with many needs looks at fewer of them, and
// proves no owner any more.
func TestComparisonsOfARun(t *testing.T) {
	const holders = 4096
	var needs []Need
	for i := range mostComparisons/holders + 2 {
		needs = append(needs, needOf("a.yml", fmt.Sprint("n", i), func(n *Need) {
			n.Owner = []config.Owner{{Process: "nginx"}}
			n.Allow = []config.NoticeCode{config.Duplicate}
		}))
	}
	crowd := altered{&sim{taken: set(t, "8080")}, func(f *host.Facts) {
		f.Sockets = f.Sockets[:1]
		f.Sockets[0].Holders = slices.Repeat(f.Sockets[0].Holders, holders)
	}}
	r := run(t, needs, Options{}, targetOf("local", crowd))
	first, last := r.Results[0], r.Results[len(r.Results)-1]
	if first.Status != Owned || last.Status != Unknown {
		t.Errorf("the first is %s, the last %s: %s", first.Status, last.Status, last.Message)
	}
}

func TestUserWithoutANumber(t *testing.T) {
	h := newHolder(host.Socket{}, &host.Holder{PID: 4711, UID: -1, User: `SHOP\ann`, Executable: `C:\nginx\nginx.exe`})
	if h.User != `SHOP\ann` || h.UID != nil || h.Process != "nginx.exe" {
		t.Errorf("%+v", h)
	}
}

func TestOwnerOnWindows(t *testing.T) {
	h := host.Holder{PID: 4711, UID: -1, Executable: `C:\nginx\Nginx.exe`, File: host.FileMachine}
	for pattern, want := range map[string]proof{"nginx": proven, "nginx.exe": proven, "NGINX*": proven, "ngin": foreign, "exe": foreign} {
		if got := isOwner(config.Owner{Process: pattern}, h, host.Socket{}, host.Machine{OS: "windows"}); got != want {
			t.Errorf("%s: %v, want %v", pattern, got, want)
		}
		if got := isOwner(config.Owner{Process: pattern}, h, host.Socket{}, host.Machine{OS: "linux"}); got == proven {
			t.Errorf("%s matches elsewhere", pattern)
		}
	}
}

// An image is the owner's by whatever name the engine has for it, on a host and in the
// listing that was written of it.
func TestOwnerByImage(t *testing.T) {
	for image, patterns := range map[string]struct{ match, others []string }{
		"nginx:1.27":                      {[]string{"nginx:1.*", "*/nginx:1.*", "library/nginx:*", "docker.io/library/nginx:1.27", "docker.io/*/nginx:1.27"}, []string{"*/nginx:2.*", "inx:1.*", "docker.io/nginx:*"}},
		"docker.io/library/nginx:1.27":    {[]string{"nginx:1.*", "*/nginx:1.*", "library/nginx:*", "*/library/nginx:*"}, []string{"*/ginx:1.*", "*/docker.io/*"}},
		"shop/web:1":                      {[]string{"shop/web:*", "*/web:1", "docker.io/shop/*"}, []string{"web:1", "*/shop"}},
		"docker.io/shop/web:1":            {[]string{"shop/web:*", "*/web:1"}, []string{"web:1", "library/web:1"}},
		"registry.example:5000/a/b/web:1": {[]string{"*/web:1", "*/b/web:1", "registry.example:5000/*/b/web:*"}, []string{"web:1", "b/web:1", "docker.io/*", "registry.example:5000/web:*"}},
		"localhost/web:1":                 {[]string{"*/web:1", "localhost/*"}, []string{"web:1", "docker.io/localhost/web:1"}},
	} {
		h := host.Holder{PID: 7, UID: -1, Container: webID, ContainerInfo: &host.ContainerInfo{Name: "web", Image: image}, Vouched: []string{host.FactContainer}}
		for i, list := range [][]string{patterns.match, patterns.others} {
			for _, pattern := range list {
				o := config.Owner{Image: pattern}
				asked, written := isOwner(o, h, host.Socket{}, host.Machine{}), isHolder(o, newHolder(host.Socket{}, &h), "linux")
				if want := i == 0; written != want || (asked == proven) != want || !want && asked != foreign {
					t.Errorf("%s, %s: %t in a listing, %v on a host, want %t", image, pattern, written, asked, want)
				}
			}
		}
	}
}

// A difference from a baseline takes what owner matches on Windows for expected, as a
// check does.
func TestAllowedOwnerOnWindows(t *testing.T) {
	for os, want := range map[string]bool{"windows": true, "linux": false} {
		base, now := listingOf(nil), listingOf([]Holder{{Protocol: port.TCP, Address: "0.0.0.0", Port: 80, State: "listen", PID: 7, Process: "Nginx.exe", Executable: `C:\nginx\Nginx.exe`}})
		now.Targets[0].OS = os
		d := NewDiff(base, now, Explanations{Allowed: []config.Allowed{{Owner: config.Owner{Process: "nginx"}}}}, CompareOptions{})
		if d.OK != want {
			t.Errorf("%s: %+v", os, d.Changes)
		}
	}
}
