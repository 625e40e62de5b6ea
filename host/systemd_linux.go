package host

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/peer"
	"github.com/org/portcheck/port"
)

// nameSocketUnits adds to sockets that a service manager of systemd has open the
// socket units for which it does, as the manager itself answers.
func nameSocketUnits(ctx context.Context, sockets []*Socket) {
	answers := map[int][]socketUnit{} // by the manager's PID
	for _, s := range sockets {
		for i, h := range s.Holders {
			f, proven := ForwarderOf(h)
			if f == nil || !proven || f.For != ForUnits || s.Inode == 0 {
				continue
			}
			if _, asked := answers[h.PID]; !asked {
				answers[h.PID], _ = socketUnitsOf(ctx, h) // without an answer the unit is unseen
			}
			s.Holders[i] = withSocketUnit(h, s, answers[h.PID])
		}
	}
}

// addOwnManager adds this user's service manager to the user's sockets for which no holder
// could be seen, if it says that it has them for a unit. It has a capability that the user
// lacks (CAP_WAKE_ALARM), so the user may not examine it (ptrace(2), PTRACE_MODE_READ).
func addOwnManager(ctx context.Context, sockets []*Socket, d *details) {
	uid := os.Geteuid()
	if uid == 0 {
		return
	}
	var pid int
	var units []socketUnit
	asked := false
	for _, s := range sockets {
		if len(s.Holders) > 0 || s.Inode == 0 || s.UID == nil || int(*s.UID) != uid {
			continue
		}
		if !asked {
			asked = true
			pid, units, _ = ownSocketUnits(ctx, uid) // without an answer the holder is unseen
		}
		if !slices.ContainsFunc(units, func(u socketUnit) bool { return u.listensAt(s.Endpoint) }) {
			continue
		}
		if h, ok := d.of(pid); ok {
			s.Holders = append(s.Holders, withSocketUnit(h, s, units))
		}
	}
}

// withSocketUnit returns a manager as the holder of one socket. If two units listen
// at the socket's address, with SO_REUSEPORT or on two devices, it is not known
// which one has it.
func withSocketUnit(h Holder, s *Socket, units []socketUnit) Holder {
	of := slices.DeleteFunc(slices.Clone(units), func(u socketUnit) bool { return !u.listensAt(s.Endpoint) })
	if len(of) != 1 {
		h.Unseen = append(slices.Clone(h.Unseen), FactUnit)
		return h
	}
	manager, _, ofUser := strings.Cut(h.Unit, "/")
	if !ofUser && !isUserManager(h.Unit) {
		manager = ""
	}
	s.Units = nil
	for _, name := range append([]string{of[0].name}, of[0].starts...) {
		if manager != "" {
			name = manager + "/" + name
		}
		s.Units = append(s.Units, name)
	}
	h.Unit = s.Units[0]
	return h
}

// socketUnit is an active socket unit.
type socketUnit struct {
	name   string
	listen []listenAddress
	starts []string // services
}

type listenAddress struct{ kind, address string } // "Stream", "[::]:22"

func (u socketUnit) listensAt(e port.Endpoint) bool {
	kind := map[port.Protocol]string{port.TCP: "Stream", port.UDP: "Datagram"}[e.Protocol]
	return slices.ContainsFunc(u.listen, func(l listenAddress) bool {
		at, err := netip.ParseAddrPort(l.address)
		return err == nil && l.kind == kind && at.Port() == e.Port && at.Addr().Unmap().WithZone("") == e.Addr.Unmap().WithZone("")
	})
}

// What an answer may take. A machine has some ten socket units.
const (
	systemdTimeout  = time.Second
	mostSocketUnits = 1000
	mostMessage     = 1 << 20
)

// socketUnitsOf asks a service manager for its active socket units. It is asked at
// its private socket, which needs no bus, and only its own user and root may ask.
// A user could have put a socket of his own there, so what listens has to be the
// manager.
func socketUnitsOf(ctx context.Context, h Holder) ([]socketUnit, error) {
	path := machineRoot() + "/run/systemd/private"
	if h.PID != 1 {
		path = userManagerSocket(h.UID)
	}
	_, units, err := askManager(ctx, path, func(peer *unix.Ucred) error {
		if int(peer.Pid) != h.PID {
			return fmt.Errorf("pid %d listens there, not %d", peer.Pid, h.PID)
		}
		return nil
	})
	return units, err
}

// ownSocketUnits asks the manager of this user, and returns its PID.
func ownSocketUnits(ctx context.Context, uid int) (pid int, units []socketUnit, err error) {
	return askManager(ctx, userManagerSocket(uid), func(peer *unix.Ucred) error {
		if int(peer.Uid) != uid || peer.Pid <= 0 {
			return fmt.Errorf("pid %d of uid %d listens there", peer.Pid, peer.Uid)
		}
		return nil
	})
}

func userManagerSocket(uid int) string {
	return machineRoot() + "/run/user/" + strconv.Itoa(uid) + "/systemd/private"
}

// askManager returns the socket units of the manager that listens at a path, and its PID.
func askManager(ctx context.Context, path string, validate func(*unix.Ucred) error) (pid int, units []socketUnit, err error) {
	ctx, cancel := context.WithTimeout(ctx, systemdTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return 0, nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline() // it has one
	if err := conn.SetDeadline(deadline); err != nil {
		return 0, nil, err
	}
	manager, err := peer.Of(conn)
	if err == nil {
		err = validate(manager)
	}
	if err != nil {
		return 0, nil, err
	}
	c := &busConn{Conn: conn}
	if err := c.authenticate(); err != nil {
		return 0, nil, err
	}
	units, err = c.socketUnits()
	return int(manager.Pid), units, err
}

const systemdName = "org.freedesktop.systemd1"

// socketUnits asks for the active socket units.
func (c *busConn) socketUnits() ([]socketUnit, error) {
	var body busWriter
	body.texts("active")
	body.texts("*.socket")
	reply, err := c.call("/org/freedesktop/systemd1", systemdName+".Manager", "ListUnitsByPatterns", "asas", body)
	if err != nil {
		return nil, err
	}
	var units []socketUnit
	var paths []string
	reply.array(8, func() { // (ssssssouso)
		name := reply.text()
		for range 5 {
			reply.text()
		}
		paths = append(paths, reply.text())
		reply.number()
		reply.text()
		reply.text()
		units = append(units, socketUnit{name: name})
	})
	if reply.err != nil || len(units) > mostSocketUnits {
		return nil, errNotBus
	}
	for i := range units {
		listen, err := c.property(paths[i], ".Socket", "Listen", "a(ss)")
		if err != nil {
			return nil, err
		}
		listen.array(8, func() {
			units[i].listen = append(units[i].listen, listenAddress{listen.text(), listen.text()})
		})
		starts, err := c.property(paths[i], ".Unit", "Triggers", "as")
		if err != nil {
			return nil, err
		}
		starts.array(4, func() { units[i].starts = append(units[i].starts, starts.text()) })
		if listen.err != nil || starts.err != nil {
			return nil, errNotBus
		}
	}
	return units, nil
}

// property returns a property of a unit.
func (c *busConn) property(path, kind, name, signature string) (*busReader, error) {
	var body busWriter
	body.text(systemdName + kind)
	body.text(name)
	reply, err := c.call(path, "org.freedesktop.DBus.Properties", "Get", "ss", body)
	if err == nil && reply.signature() != signature {
		err = errNotBus
	}
	return reply, err
}
