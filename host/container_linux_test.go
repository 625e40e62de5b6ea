package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseOwnContainer(t *testing.T) {
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for name, c := range map[string]struct {
		mountinfo string
		want      []string
	}{
		"a host": {"27 1 254:0 / / rw,relatime - ext4 /dev/root rw\n", nil},
		"docker": {
			"1011 1006 254:0 /var/lib/docker/containers/" + a + "/resolv.conf /etc/resolv.conf rw - ext4 /dev/root rw\n" +
				"1012 1006 254:0 /var/lib/docker/containers/" + a + "/hostname /etc/hostname rw - ext4 /dev/root rw\n", []string{a},
		},
		"podman":                 {"1 2 0:25 /containers/storage/overlay-containers/" + b + "/userdata/hostname /etc/hostname rw - tmpfs tmpfs rw\n", []string{b}},
		"another's directory":    {"1 2 0:25 /var/lib/docker/containers/" + b + "/hostname /mnt/hostname rw - ext4 x rw\n", nil},
		"a name that is no ID":   {"1 2 0:25 /pods/etc-hosts/" + a[:63] + " /etc/hosts rw - ext4 x rw\n", nil},
		"a line that is cut off": {"1 2 0:25 /x", nil},
		"nothing":                {"", nil},
	} {
		if got := parseOwnContainer(c.mountinfo); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A helper container uses the machine's user names, not those of its own image.
func TestUsersOfAnotherSystem(t *testing.T) {
	etc := t.TempDir()
	for file, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\n# www-data:x:1:1::/:\nbroken:x\nwww-data:x:33:33:www:/var/www:/bin/sh\n+::::::\napp:x:2000:100::/:\n",
		"group":  "root:x:0:\nwww-data:x:33:www-data\nssl:x:44:app,www-data\nlog:x:45:app\nsix:x:46:apple\n",
	} {
		if err := os.WriteFile(filepath.Join(etc, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u := etcUsers{etc}
	for uid, want := range map[int]string{0: "root", 33: "www-data", 1: "", 4711: ""} {
		if name, err := u.name(uid); err != nil || name != want {
			t.Errorf("%d: %q, %v", uid, name, err)
		}
	}
	for name, want := range map[string]account{
		"app":      {2000, 100, []uint32{100, 44, 45}},
		"www-data": {33, 33, []uint32{33, 44}},
		"33":       {33, 33, []uint32{33, 44}},
		"4711":     {4711, 4711, nil},
	} {
		got, err := u.find(name)
		if err != nil || got.uid != want.uid || got.gid != want.gid || !slices.Equal(got.groups, want.groups) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"nobody", "", "-1", "broken"} {
		if got, err := u.find(name); err == nil {
			t.Errorf("%q: %+v", name, got)
		}
	}
	missing := etcUsers{filepath.Join(etc, "none")}
	if _, err := missing.name(0); err == nil {
		t.Error("a name without passwd")
	}
	if _, err := missing.find("root"); err == nil || !strings.Contains(err.Error(), "the host's users can't be read") {
		t.Errorf("a user without passwd: %v", err)
	}
}
