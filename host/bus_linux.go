package host

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
)

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
