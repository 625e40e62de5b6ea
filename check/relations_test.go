package check

import (
	"slices"
	"strings"
	"testing"

	"github.com/org/portcheck/config"
	"github.com/org/portcheck/host"
	"github.com/org/portcheck/port"
)

// Which key of an owner differs is a part of the message.
func TestMismatchIsNamed(t *testing.T) {
	web := nginx
	web.Unit, web.User, web.Vouched = "nginx.service", "www-data", []string{"unit"}
	for want, owners := range map[string][]config.Owner{
		"; pid 812 is not the owner: its unit is nginx.service, and owner wants shop.service":                                                  {{Unit: "shop.service"}},
		"; pid 812 is not the owner: its unit is nginx.service, and owner wants shop-*":                                                        {{Process: "nginx", Unit: "shop-*"}},
		"; pid 812 is not the owner: its process is nginx, and owner wants node":                                                               {{Process: "node"}},
		"; pid 812 is not the owner: its user is www-data, and owner wants root":                                                               {{User: "root"}},
		"; pid 812 is not the owner: it is in no container, and owner wants web":                                                               {{Container: "web"}},
		"; pid 812 is not the owner: it is no Compose service, and owner wants shop/web":                                                       {{Compose: "shop/web"}},
		"; pid 812 is not the owner: it is in no container, and owner wants nginx:1":                                                           {{Image: "nginx:1"}},
		"; pid 812 is not the owner: its unit is nginx.service, and owner wants a.service, and the other owner does not match either":          {{Unit: "a.service"}, {Unit: "b.service"}},
		"; pid 812 is not the owner: its executable is /usr/sbin/nginx, and owner wants /opt/nginx, and the other owner does not match either": {{Executable: "/opt/nginx"}, {Container: "x"}},
	} {
		for _, state := range []host.State{host.Listen, host.Bound} {
			r := verdictCase{need: owner(owners...), attempts: []string{"in-use"}, sockets: []host.Socket{socket(state, "[::]:8080", web)}}.judge(t)
			if !strings.HasSuffix(r.Message, want) || r.Status != InUse {
				t.Errorf("%s: %s, want %s", r.Status, r.Message, want)
			}
		}
	}
	r := verdictCase{attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Listen, "[::]:8080", web)}}.judge(t)
	if strings.Contains(r.Message, "owner") {
		t.Errorf("without an owner: %s", r.Message)
	}
}

// Whoever has set SO_REUSEADDR is not told to set it.
func TestTimeWaitHint(t *testing.T) {
	for _, set := range []bool{true, false} {
		r := verdictCase{need: func(n *Need) { n.ReuseAddress = &set }, attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.TimeWait, "10.0.0.1:8080")}}.judge(t)
		if got := r.Notices[0].Message; strings.Contains(got, "or set SO_REUSEADDR") == set {
			t.Errorf("reuse_address %v: %s", set, got)
		}
	}
}

// Clients that wait to be accepted belong to no process.
func TestClientsInTheQueue(t *testing.T) {
	client := socket(host.Connected, "127.0.0.1:8080")
	client.Inode = 0
	r := verdictCase{attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Listen, "[::]:8080", nginx), client}}.judge(t)
	if len(r.Holders) != 1 || strings.Contains(r.Message, "can't be seen") {
		t.Errorf("%s; holders %+v", r.Message, r.Holders)
	}
	r = verdictCase{attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Listen, "[::]:8080"), client}}.judge(t)
	if len(r.Holders) != 1 || strings.Count(r.Message, "can't be seen") != 1 {
		t.Errorf("%s; holders %+v", r.Message, r.Holders)
	}
}

func TestKernelIsNamed(t *testing.T) {
	s := socket(host.Listen, "[::]:8080")
	s.Complete, s.Kernel, s.Inode = true, true, 7
	r := verdictCase{attempts: []string{"in-use"}, sockets: []host.Socket{s}}.judge(t)
	if !strings.HasSuffix(r.Message, "is in use by the kernel itself") || len(r.Notices) > 0 || !r.Holders[0].Kernel {
		t.Errorf("%s %+v %+v", r.Message, r.Notices, r.Holders)
	}
}

// A name that a process has chosen counts if the machine has a link of that name.
func TestOwnerByOtherNames(t *testing.T) {
	redis := nginx
	redis.Executable, redis.Process, redis.Names = "/usr/bin/redis-check-rdb", "redis-server", []string{"redis-server"}
	fake := redis
	fake.Names = nil
	other := redis
	other.File = host.FileOther
	for name, c := range map[string]struct {
		holder  host.Holder
		pattern string
		want    Status
	}{
		"by the link":        {redis, "redis-server", Owned},
		"by the file":        {redis, "redis-check-rdb", Owned},
		"by a glob":          {redis, "redis-s*", Owned},
		"by another name":    {redis, "redis-cli", InUse},
		"by its own name":    {fake, "redis-server", InUse},
		"of another's files": {other, "redis-server", InUse},
	} {
		r := verdictCase{need: owner(config.Owner{Process: c.pattern}), attempts: []string{"in-use"}, sockets: []host.Socket{socket(host.Listen, "[::]:8080", c.holder)}}.judge(t)
		if r.Status != c.want {
			t.Errorf("%s: %s, want %s: %s", name, r.Status, c.want, r.Message)
		}
	}
}

// What systemd holds for a socket unit is that unit's, and that of the services which
// it starts with it.
func TestOwnerOfASocketUnit(t *testing.T) {
	manager := host.Holder{PID: 1, UID: 0, Executable: "/usr/lib/systemd/systemd", File: host.FileRoots, Unit: "shop.socket", Vouched: []string{"unit"}}
	service := host.Holder{PID: 9, UID: 0, Executable: "/usr/bin/shop", File: host.FileRoots, Unit: "shop.service", Vouched: []string{"unit"}}
	stranger := service
	stranger.Unit = "evil.service"
	unknown := manager
	unknown.Unit, unknown.Unseen = "init.scope", []string{"unit"}
	for name, c := range map[string]struct {
		holders []host.Holder
		units   []string
		pattern string
		want    Status
	}{
		"systemd":                 {[]host.Holder{manager}, []string{"shop.socket", "shop.service"}, "shop.socket", Owned},
		"its service":             {[]host.Holder{manager, service}, []string{"shop.socket", "shop.service"}, "shop.socket", Owned},
		"by the service":          {[]host.Holder{manager, service}, []string{"shop.socket", "shop.service"}, "shop.service", Owned},
		"by another unit":         {[]host.Holder{manager, service}, []string{"shop.socket", "shop.service"}, "web.socket", InUse},
		"and a stranger":          {[]host.Holder{manager, stranger}, []string{"shop.socket", "shop.service"}, "shop.socket", InUse},
		"systemd does not answer": {[]host.Holder{unknown}, nil, "shop.socket", Unknown},
	} {
		s := socket(host.Listen, "[::]:8080", c.holders...)
		s.Units = c.units
		r := verdictCase{need: owner(config.Owner{Unit: c.pattern}), attempts: []string{"in-use"}, sockets: []host.Socket{s}}.judge(t)
		if r.Status != c.want {
			t.Errorf("%s: %s, want %s: %s", name, r.Status, c.want, r.Message)
		}
		for _, h := range r.Holders {
			if unit := h.From().SocketUnit; len(c.units) > 0 && h.Unit != "evil.service" && unit != "shop.socket" {
				t.Errorf("%s: pid %d has the socket unit %q", name, h.PID, unit)
			}
		}
	}
}

// An app that moves to a port that browsers refuse is up and can't be opened.
func TestUnsafePortsAreNoAlternatives(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Need)
		want   []uint16
	}{
		"tcp":            {func(n *Need) { n.Range = port.Set{{First: 6663, Last: 6671}} }, []uint16{6663, 6664, 6670}},
		"blocks":         {both(func(n *Need) { n.Range = port.Set{{First: 6662, Last: 6673}} }, ports(8080, 8081)), []uint16{6662, 6670, 6672}},
		"udp":            {both(udp, func(n *Need) { n.Range = port.Set{{First: 6665, Last: 6671}} }), []uint16{6665, 6666, 6667}},
		"nothing else":   {func(n *Need) { n.Range = port.Set{{First: 6665, Last: 6669}} }, []uint16{6665, 6666, 6667}},
		"has one itself": {both(func(n *Need) { n.Range = port.Set{{First: 6664, Last: 6669}} }, ports(6000, 6000)), []uint16{6664, 6665, 6666}},
	} {
		n := needOf("a.yml", "x", c.change)
		h := &sim{taken: port.Set{n.Ports}}
		if got := run(t, []Need{n}, Options{Alternatives: 3}, targetOf("local", h)).Results[0].Alternatives; !slices.Equal(got, c.want) {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestRemoteOfIPv6(t *testing.T) {
	f := machine()
	f.Tried, f.Dialed = []host.Tried{}, []host.Attempt{dialed(5432, "in-use")}
	n := needOf("a.yml", "x", reachable)
	n.Remote = "::1"
	if r := run(t, []Need{n}, Options{}, targetOf("local", canned(f))).Results[0]; !strings.HasPrefix(r.Message, "[::1] ") {
		t.Error(r.Message)
	}
}
