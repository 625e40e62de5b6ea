package host

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

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

// withSocketUnit returns a manager as the holder of one socket. If two units listen
// at the socket's address, with SO_REUSEPORT or on two devices, it is not known
// which one has it.
func withSocketUnit(h Holder, s *Socket, units []socketUnit) Holder {
	of := slices.DeleteFunc(slices.Clone(units), func(u socketUnit) bool { return !u.listensAt(s.Endpoint) })
	if len(of) != 1 {
		h.Unseen = append(slices.Clone(h.Unseen), "unit")
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
		path = machineRoot() + "/run/user/" + strconv.Itoa(h.UID) + "/systemd/private"
	}
	ctx, cancel := context.WithTimeout(ctx, systemdTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline() // it has one
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if err := isPeer(conn, h.PID); err != nil {
		return nil, err
	}
	c := &busConn{Conn: conn}
	if err := c.authenticate(); err != nil {
		return nil, err
	}
	return c.socketUnits()
}

// isPeer returns an error unless the process that listens at the other end is pid.
func isPeer(conn net.Conn, pid int) error {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if int(peer.Pid) != pid {
		return fmt.Errorf("pid %d listens there, not %d", peer.Pid, pid)
	}
	return nil
}

// busConn is a connection that speaks as much of D-Bus as is needed here
// (https://dbus.freedesktop.org/doc/dbus-specification.html).
type busConn struct {
	net.Conn
	serial uint32
}

func (c *busConn) authenticate() error {
	// BEGIN does not wait for the answer: a message that arrives together with it would
	// stay in systemd's buffer until the next one.
	uid := hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid())))
	if _, err := io.WriteString(c, "\x00AUTH EXTERNAL "+uid+"\r\nBEGIN\r\n"); err != nil {
		return err
	}
	// One byte at a time: messages follow.
	var line []byte
	for !strings.HasSuffix(string(line), "\r\n") {
		var b [1]byte
		if _, err := io.ReadFull(c, b[:]); err != nil {
			return err
		}
		if line = append(line, b[0]); len(line) > 256 {
			return errNotBus
		}
	}
	if !strings.HasPrefix(string(line), "OK ") {
		return errNotBus
	}
	return nil
}

var errNotBus = errors.New("the answer is not one of D-Bus")

const systemdName = "org.freedesktop.systemd1"

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

// call calls a method and returns the body of its answer.
func (c *busConn) call(path, kind, method, signature string, body busWriter) (*busReader, error) {
	c.serial++
	m := busWriter{'l', 1, 0, 1} // little-endian, a call, no flags, version 1
	m.number(uint32(len(body)))
	m.number(c.serial)
	var fields busWriter
	for _, f := range []struct {
		code  byte
		kind  string
		value string
	}{{1, "o", path}, {2, "s", kind}, {3, "s", method}, {8, "g", signature}} {
		fields.pad(8)
		fields = append(fields, f.code, 1, f.kind[0], 0)
		if f.kind == "g" {
			fields = append(fields, byte(len(f.value)))
			fields = append(append(fields, f.value...), 0)
		} else {
			fields.text(f.value)
		}
	}
	m.number(uint32(len(fields)))
	m = append(m, fields...) // at offset 16
	m.pad(8)
	if _, err := c.Write(append(m, body...)); err != nil {
		return nil, err
	}
	for range 100 { // signals may come before the answer
		kind, serial, reply, err := c.read()
		switch {
		case err != nil:
			return nil, err
		case serial != c.serial:
		case kind == 2:
			return reply, nil
		case kind == 3:
			return nil, fmt.Errorf("%s failed", method)
		}
	}
	return nil, errNotBus
}

// read reads a message: its type, the serial of the call that it answers, its body.
func (c *busConn) read() (kind byte, answers uint32, body *busReader, err error) {
	var head [16]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, 0, nil, err
	}
	r := &busReader{data: head[4:], order: binary.LittleEndian}
	if head[0] == 'B' {
		r.order = binary.BigEndian
	}
	length, _, fields := r.number(), r.number(), r.number()
	if length > mostMessage || fields > mostMessage {
		return 0, 0, nil, errNotBus
	}
	padded := (fields + 7) &^ 7
	rest := make([]byte, padded+length)
	if _, err := io.ReadFull(c, rest); err != nil {
		return 0, 0, nil, err
	}
	f := &busReader{data: rest[:fields], order: r.order}
	for f.err == nil && f.at < len(f.data) {
		f.pad(8)
		code := f.octet()
		switch f.signature() {
		case "u":
			if n := f.number(); code == 5 { // REPLY_SERIAL
				answers = n
			}
		case "s", "o":
			f.text()
		case "g":
			f.signature()
		default:
			return 0, 0, nil, errNotBus
		}
	}
	return head[1], answers, &busReader{data: rest[padded:], order: r.order}, f.err
}

// busWriter is a body of a message, little-endian.
type busWriter []byte

func (w *busWriter) pad(to int) {
	for len(*w)%to != 0 {
		*w = append(*w, 0)
	}
}

func (w *busWriter) number(n uint32) {
	w.pad(4)
	*w = binary.LittleEndian.AppendUint32(*w, n)
}

func (w *busWriter) text(s string) {
	w.number(uint32(len(s)))
	*w = append(append(*w, s...), 0)
}

// texts writes a list of one text.
func (w *busWriter) texts(s string) {
	w.number(uint32(4 + len(s) + 1))
	w.text(s)
}

// busReader reads a body. After an error it returns zero values.
type busReader struct {
	data  []byte
	at    int
	order binary.ByteOrder
	err   error
}

// next returns the next n bytes, nil at the end.
func (r *busReader) next(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.data)-r.at {
		r.err = errNotBus
		return nil
	}
	r.at += n
	return r.data[r.at-n : r.at]
}

func (r *busReader) pad(to int) {
	if n := r.at % to; n != 0 {
		r.next(to - n)
	}
}

func (r *busReader) octet() byte {
	if b := r.next(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *busReader) number() uint32 {
	r.pad(4)
	if b := r.next(4); b != nil {
		return r.order.Uint32(b)
	}
	return 0
}

func (r *busReader) text() string {
	text := r.next(int(r.number()))
	r.next(1)
	return string(text)
}

func (r *busReader) signature() string {
	text := r.next(int(r.octet()))
	r.next(1)
	return string(text)
}

// array calls read for each element of an array, whose elements start at multiples
// of alignment.
func (r *busReader) array(alignment int, read func()) {
	length := int(r.number())
	r.pad(alignment)
	if r.err != nil || length > len(r.data)-r.at {
		r.err = errNotBus
		return
	}
	for end := r.at + length; r.err == nil && r.at < end; {
		r.pad(alignment)
		read()
	}
}
