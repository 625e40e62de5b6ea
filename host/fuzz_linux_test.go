package host

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/org/portcheck/port"
)

// The parsers are checked by a round trip: what was parsed is formatted, parsed
// again, and must be the same.

func FuzzDiag(f *testing.F) {
	f.Add(diagMessage{family: unix.AF_INET, state: tcpListen, port: 8080, addr: []byte{127, 0, 0, 1}, uid: 33, inode: 99, attrs: []diagAttr{cgroupAttr(1 << 40)}}.bytes(), false)
	f.Add(diagMessage{family: unix.AF_INET6, state: tcpTimeWait, port: 8080, attrs: []diagAttr{{diagAttrV6Only, []byte{1}}}}.bytes(), false)
	f.Add(diagMessage{family: unix.AF_INET6, state: tcpClose, port: 53, device: 3, inode: 1}.bytes(), true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, data []byte, isUDP bool) {
		q := query{protocol: port.TCP}
		if isUDP {
			q.protocol = port.UDP
		}
		s, ok, err := parseDiag(data, q, nameDevice)
		if err != nil || !ok {
			return
		}
		if s.Port == 0 || s.Port != binary.BigEndian.Uint16(data[4:]) || !s.Addr.IsValid() || s.Addr.Is4In6() || s.State == "" || s.Inode == 0 != (s.UID == nil) {
			t.Fatalf("%+v", s)
		}
		again, ok, err := parseDiag(diagOf(s).bytes(), q, nameDevice)
		if err != nil || !ok || !cmp.Equal(s, again, compareAddrs) {
			t.Fatalf("%+v became %+v (%t, %v)", s, again, ok, err)
		}
	})
}

func FuzzProcNet(f *testing.F) {
	for _, text := range []string{procTCP, procTCP6, procUDP, "", "local_address\n"} {
		f.Add(text, text == procUDP)
	}
	f.Fuzz(func(t *testing.T, text string, isUDP bool) {
		q := query{protocol: port.TCP, every: true}
		if isUDP {
			q.protocol = port.UDP
		}
		sockets, err := parseProcNet(strings.NewReader(text), q, binary.NativeEndian)
		if err != nil {
			return
		}
		out := "local_address drops\n"
		for _, s := range sockets {
			if s.Port == 0 || !s.Addr.IsValid() || s.Addr.Is4In6() || s.State == "" || s.Inode == 0 != (s.UID == nil) {
				t.Fatalf("%+v", s)
			}
			out += procLine(s)
		}
		again, err := parseProcNet(strings.NewReader(out), q, binary.NativeEndian)
		if err != nil || !cmp.Equal(sockets, again, compareAddrs) {
			t.Fatalf("%+v became %+v (%v)", sockets, again, err)
		}
		held, err := parseProcNet(strings.NewReader(text), query{protocol: q.protocol}, binary.NativeEndian)
		if err != nil || len(held) > len(sockets) {
			t.Fatalf("fewer states, but more sockets: %+v (%v)", held, err)
		}
	})
}

// procLine is the line of /proc/net that parses to s.
func procLine(s Socket) string {
	addr := s.Addr.AsSlice()
	for i := 0; i < len(addr); i += 4 {
		binary.BigEndian.PutUint32(addr[i:], binary.NativeEndian.Uint32(addr[i:]))
	}
	var uid uint32
	if s.UID != nil {
		uid = *s.UID
	}
	return fmt.Sprintf("0: %X:%04X 0:0 %02X 0:0 0:0 0 %d 0 %d\n", addr, s.Port, diagOf(s).state, uid, s.Inode)
}

func FuzzStat(f *testing.F) {
	const rest = " S 1 812 812 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1"
	for _, name := range []string{"nginx", ") S 1 (", "two\nlines"} {
		f.Add([]byte("812 (" + name + ")" + rest))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseStat(text)
		if err != nil {
			return
		}
		if !bytes.Contains(text, []byte("("+got.name+")")) {
			t.Fatalf("name %q", got.name)
		}
		flags := 0
		if got.copied {
			flags = 0x40
		}
		pid := got.session + 1
		if got.leads {
			pid = got.session
		}
		again, err := parseStat(fmt.Appendf(nil, "%d (%s) %s %d %d %d 0 0 %d%s %d%s %d\n", pid, got.name, got.state, got.parent, got.group, got.session, flags, strings.Repeat(" 0", 12), got.start, strings.Repeat(" 0", 5), got.stack))
		if err != nil || again != got {
			t.Fatalf("%+v became %+v (%v)", got, again, err)
		}
	})
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte("Name:\tnginx\nUmask:\t0022\nUid:\t0\t33\t0\t33\nGid:\t5\t6\t7\t8\n"))
	f.Add([]byte("Name:\ta\\nUid:\t1\t1\t1\t1\nUid:\t2\t3\t4\t5\n"))
	f.Add([]byte("Uid:\t1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseEffectiveUID(text)
		if err != nil {
			if got != -1 {
				t.Fatalf("%d with %v", got, err)
			}
			return
		}
		if got < 0 || int64(got) > 1<<32-1 {
			t.Fatal(got)
		}
		if again, err := parseEffectiveUID(fmt.Appendf(nil, "Name:\tx\nUid:\t0\t%d\t0\t0\n", got)); err != nil || again != got {
			t.Fatalf("%d became %d (%v)", got, again, err)
		}
	})
}

func FuzzCgroup(f *testing.F) {
	id := strings.Repeat("0123456789abcdef", 4)
	f.Add("0::/system.slice/nginx.service\n")
	f.Add("12:cpuset:/\n11:pids:/system.slice/nginx.service\n1:name=systemd:/user.slice/session-3.scope\n")
	f.Add("0::/system.slice/docker-" + id + ".scope/_x.service\n")
	f.Add("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service/docker-" + id + "\n")
	f.Add("0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:" + id + "\n")
	f.Add("0::/../x.service\n1:name=systemd:/../../docker-" + id + ".scope\n2:cpuset:/x.service\n")
	check := func(t *testing.T, text string, root cgroupRoot) {
		names := parseCgroup(text, root)
		unit, container := names.unit, names.container
		if unit != "" {
			manager, inner, ofUser := strings.Cut(unit, "/")
			for _, u := range strings.Split(unit, "/") {
				name := strings.TrimSuffix(strings.TrimSuffix(u, ".service"), ".scope")
				if name == u || name == "" || strings.Contains(u, "\n") || !strings.Contains(text, u) {
					t.Errorf("unit %q", unit)
				}
			}
			if ofUser && (!isUserManager(manager) || strings.Contains(inner, "/")) {
				t.Errorf("unit %q", unit)
			}
		}
		if container != "" {
			if len(container) != 64 || strings.Trim(container, "0123456789abcdef") != "" || !strings.Contains(text, container) {
				t.Errorf("container %q", container)
			}
		}
		if names.enginesOwn && (container == "" || unit != "") {
			t.Errorf("unit %q and an engine's container %q", unit, container)
		}
		if names.unitUnknown && unit != "" || names.containerUnknown && container != "" {
			t.Errorf("unit %q and container %q of a path that is not known", unit, container)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		check(t, text, nil)
		check(t, text, parseCgroupRoot("0::/..\n1:name=systemd:/../..\n"))
		check(t, text, parseCgroupRoot(text))
	})
}

func FuzzSocketLink(f *testing.F) {
	for _, link := range []string{"socket:[4711]", "socket:[]", "pipe:[1]", "socket:[007]"} {
		f.Add([]byte(link))
	}
	f.Fuzz(func(t *testing.T, link []byte) {
		inode, ok := parseSocketLink(link)
		if !ok {
			return
		}
		if again, ok := parseSocketLink(fmt.Appendf(nil, "socket:[%d]", inode)); !ok || again != inode {
			t.Fatalf("%q: %d became %d", link, inode, again)
		}
	})
}

func FuzzReserved(f *testing.F) {
	for _, text := range []string{"8080,9148-9150", "0-5", "0", "1-65535", "8080,", "9-8"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseReserved(text)
		if err != nil {
			return
		}
		for _, r := range got {
			if r.First == 0 || r.Last < r.First {
				t.Fatalf("%v", got)
			}
		}
		if again, err := parseReserved(got.String()); err != nil || !slices.Equal(got, again) {
			t.Fatalf("%v became %v (%v)", got, again, err)
		}
	})
}

func FuzzEphemeral(f *testing.F) {
	for _, text := range []string{"32768\t60999", "1 65535", "9 8", "1-2 3"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseEphemeral(text)
		if err != nil {
			return
		}
		if got.First == 0 || got.Last < got.First {
			t.Fatalf("%v", got)
		}
		if again, err := parseEphemeral(fmt.Sprintf("%d\t%d", got.First, got.Last)); err != nil || again != got {
			t.Fatalf("%v became %v (%v)", got, again, err)
		}
	})
}

func FuzzUnifiedMount(f *testing.F) {
	f.Add("28 1 0:25 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n")
	f.Add("40 27 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n41 27 0:34 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n")
	f.Add("1 2 3 / a - b - cgroup2 x\n")
	f.Fuzz(func(t *testing.T, text string) {
		got := parseUnifiedMount(text)
		if got != "" && !slices.Contains(strings.Fields(text), got) {
			t.Fatalf("%q is not a field of %q", got, text)
		}
	})
}

func FuzzUnifiedCgroup(f *testing.F) {
	f.Add("9:name=systemd:/\n0::/system.slice/nginx.service\n")
	f.Add("0::/../../x")
	f.Fuzz(func(t *testing.T, text string) {
		path, found := parseUnifiedCgroup(text)
		if found != (strings.HasPrefix(text, "0::") || strings.Contains(text, "\n0::")) || strings.Contains(path, "\n") {
			t.Fatalf("%q, %t of %q", path, found, text)
		}
	})
}
