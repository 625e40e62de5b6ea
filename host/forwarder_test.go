package host

import "testing"

func TestForwarderOf(t *testing.T) {
	as := func(executable string, uid int, file FileProof, names ...string) Holder {
		return Holder{PID: 7, Executable: executable, UID: uid, File: file, Names: names}
	}
	for name, c := range map[string]struct {
		holder Holder
		want   string // its name, with "?" if it is not proven
	}{
		"docker-proxy":                 {as("/usr/sbin/docker-proxy", 0, FileRoots), "docker-proxy"},
		"docker-proxy of a user":       {as("/usr/sbin/docker-proxy", 1000, FileRoots), ""},
		"a user's file":                {as("/home/ann/docker-proxy", 0, FileMachine), ""},
		"a file of its own":            {as("/usr/sbin/docker-proxy", 0, FileOther), ""},
		"a file that can't be read":    {as("/usr/sbin/docker-proxy", 0, ""), "docker-proxy?"},
		"a user that is not known":     {as("/usr/sbin/docker-proxy", -1, FileRoots), "docker-proxy?"},
		"rootlesskit of a user":        {as("/usr/bin/rootlesskit", 1000, FileRoots), "rootlesskit"},
		"rootlessport of a user":       {as("/usr/lib/podman/rootlessport", 1000, FileRoots), "rootlessport"},
		"slirp4netns":                  {as("/usr/bin/slirp4netns", 1000, FileRoots), "slirp4netns"},
		"passt for a CPU":              {as("/usr/bin/passt.avx2", 1000, FileRoots), "pasta"},
		"conmon of root":               {as("/usr/bin/conmon", 0, FileRoots), "conmon"},
		"a shim":                       {as("/usr/bin/containerd-shim-runc-v2", 0, FileRoots), "containerd-shim"},
		"PID 1":                        {as("/usr/lib/systemd/systemd", 0, FileRoots), "systemd"},
		"a user's service manager":     {as("/usr/lib/systemd/systemd", 1000, FileRoots), "systemd"},
		"inetd of busybox":             {as("/usr/bin/busybox", 0, FileRoots, "inetd"), "inetd"},
		"another applet":               {as("/usr/bin/busybox", 0, FileRoots, "httpd"), ""},
		"a server":                     {as("/usr/sbin/nginx", 0, FileRoots), ""},
		"no executable":                {as("", 0, ""), ""},
		"part of a forwarder's name":   {as("/usr/sbin/docker-prox", 0, FileRoots), ""},
		"more than a forwarder's name": {as("/usr/sbin/docker-proxy2", 0, FileRoots), ""},
	} {
		got := ""
		if f, proven := ForwarderOf(c.holder); f != nil {
			if got = f.Name; !proven {
				got += "?"
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestServesEngine(t *testing.T) {
	root, _ := ForwarderOf(Holder{Executable: "/usr/bin/conmon", File: FileRoots})
	for _, c := range []struct {
		holder, engine int
		want           bool
	}{{0, 0, true}, {0, -1, true}, {0, overflowUID, true}, {0, 1000, false}, {1000, 1000, true}, {1000, 0, false}, {1000, -1, false}, {1000, 1001, false}} {
		if got := root.ServesEngine(Holder{UID: c.holder}, c.engine); got != c.want {
			t.Errorf("a holder of uid %d, an engine of uid %d: %v", c.holder, c.engine, got)
		}
	}
}

// A forwarder whose parent is PID 1 has lost what would end it.
func TestLostParent(t *testing.T) {
	proxy, _ := ForwarderOf(Holder{Executable: "/usr/sbin/docker-proxy", File: FileRoots})
	port, _ := ForwarderOf(Holder{Executable: "/usr/bin/rootlessport", File: FileRoots})
	for _, c := range []struct {
		pid  int
		name string
		want bool
	}{{1, "systemd", true}, {1, "my-init", true}, {42, "systemd", true}, {42, "dockerd", false}, {1, "dockerd", false}, {42, "balenad", false}, {0, "", false}} {
		h := Holder{Parent: c.pid, ParentName: c.name}
		if got := proxy.lostParent(h); got != c.want {
			t.Errorf("parent %d, %s: %v", c.pid, c.name, got)
		}
		if port.lostParent(h) {
			t.Error("rootlessport never has a parent")
		}
	}
}
