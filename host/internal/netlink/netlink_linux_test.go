package netlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

const (
	listDiag = unix.SOCK_DIAG_BY_FAMILY // any type does
	multi    = unix.NLM_F_MULTI
	changed  = unix.NLM_F_MULTI | unix.NLM_F_DUMP_INTR
	patience = 5 * time.Second
)

// message is one netlink message, with this header.
func message(kind, flags uint16, sequence, pid uint32, payload ...byte) []byte {
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(payload)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = binary.NativeEndian.AppendUint16(m, flags)
	m = binary.NativeEndian.AppendUint32(m, sequence)
	m = binary.NativeEndian.AppendUint32(m, pid)
	m = append(m, payload...)
	for len(m)%4 != 0 {
		m = append(m, 0)
	}
	return m
}

func errnoBytes(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }

// TestBrokenAnswers checks that an answer with any fault is an error, and that the part
// before the fault is not taken for the whole table.
func TestBrokenAnswers(t *testing.T) {
	good := message(listDiag, multi, 7, 42, 1, 2, 3, 4)
	end := message(unix.NLMSG_DONE, multi, 7, 42, errnoBytes(0)...)
	earlier := message(listDiag, multi, 6, 42, 1, 2, 3, 4)
	failed := func(errno int32) []byte { return message(unix.NLMSG_ERROR, 0, 7, 42, errnoBytes(errno)...) }
	truncated := slices.Clone(good)
	binary.NativeEndian.PutUint32(truncated, 400)
	for _, c := range []struct {
		name     string
		text     []byte
		messages int
		want     error // nil: the answer is whole
	}{
		{"whole", slices.Concat(good, good, end), 2, nil},
		{"an end alone", end, 0, nil},
		{"noop", slices.Concat(message(unix.NLMSG_NOOP, 0, 7, 42), end), 0, nil},
		{"after the rest of an earlier answer", slices.Concat(earlier, message(unix.NLMSG_DONE, changed, 6, 42), good, end), 1, nil},
		{"nothing", nil, 0, ErrBroken},
		{"half a header", good[:10], 0, ErrBroken},
		{"message longer than the datagram", truncated, 0, ErrBroken},
		{"message shorter than its header", slices.Concat(binary.NativeEndian.AppendUint32(nil, 3), good[4:]), 0, ErrBroken},
		{"answer to a later request", slices.Concat(good, message(listDiag, multi, 8, 42)), 1, ErrBroken},
		{"end of no request", message(unix.NLMSG_DONE, multi, 0, 42, errnoBytes(0)...), 0, ErrBroken},
		{"answer to another process", message(listDiag, multi, 7, 43), 0, ErrBroken},
		{"earlier answer to another process", message(listDiag, multi, 6, 43), 0, ErrBroken},
		{"interrupted", slices.Concat(good, message(listDiag, changed, 7, 42), end), 1, ErrInterrupted},
		{"interrupted at the end", slices.Concat(good, message(unix.NLMSG_DONE, changed, 7, 42, errnoBytes(0)...)), 1, ErrInterrupted},
		{"overrun", slices.Concat(good, message(unix.NLMSG_OVERRUN, 0, 7, 42)), 1, unix.ENOBUFS},
		{"error", slices.Concat(good, failed(-int32(unix.ENOMEM))), 1, unix.ENOMEM},
		{"error at the end", slices.Concat(good, message(unix.NLMSG_DONE, multi, 7, 42, errnoBytes(-int32(unix.EINVAL))...)), 1, unix.EINVAL},
		{"error of a subsystem's own", failed(-4103), 0, unix.Errno(4103)},
		{"acknowledgement", failed(0), 0, ErrBroken},
		{"error without a status", message(unix.NLMSG_ERROR, 0, 7, 42), 0, ErrBroken},
		{"end without a status", message(unix.NLMSG_DONE, multi, 7, 42), 0, ErrBroken},
		{"end with a count", message(unix.NLMSG_DONE, multi, 7, 42, errnoBytes(5)...), 0, ErrBroken},
		{"more behind the end", slices.Concat(end, good), 0, ErrBroken},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, messages := Conn{pid: 42, sequence: 7}, 0
			done, err := conn.read(c.text, false, func(Message) error { messages++; return nil })
			if !errors.Is(err, c.want) || done != (c.want == nil) || messages != c.messages {
				t.Errorf("done %t, %v after %d messages; want %v after %d", done, err, messages, c.want, c.messages)
			}
		})
	}
	// An answer that stops without an end is not done: Ask reads on, and fails when the
	// kernel stays silent.
	conn := Conn{pid: 42, sequence: 7}
	if done, err := conn.read(slices.Concat(good, good), false, func(Message) error { return nil }); done || err != nil {
		t.Errorf("done %t, %v; want neither", done, err)
	}
	// The first request of a socket has no earlier ones.
	conn.sequence = 1
	if _, err := conn.read(message(listDiag, multi, 0, 42), false, func(Message) error { return nil }); !errors.Is(err, ErrBroken) {
		t.Errorf("before the first request: %v", err)
	}
}

// An error of the function that takes the messages ends the answer.
func TestTakerFails(t *testing.T) {
	good := message(listDiag, multi, 7, 42, 1, 2, 3, 4)
	conn, seen := Conn{pid: 42, sequence: 7}, 0
	_, err := conn.read(slices.Concat(good, good), false, func(Message) error { seen++; return unix.EBADMSG })
	if !errors.Is(err, unix.EBADMSG) || seen != 1 {
		t.Errorf("%v after %d messages", err, seen)
	}
}

func TestSilence(t *testing.T) {
	within := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		t.Cleanup(cancel)
		return ctx
	}
	if got := silence(t.Context(), patience); got != patience {
		t.Errorf("without a deadline: %s", got)
	}
	if got := silence(within(time.Hour), patience); got != patience {
		t.Errorf("a late deadline: %s", got)
	}
	if got := silence(within(patience/2), patience); got > patience/2 || got < time.Millisecond {
		t.Errorf("an early deadline: %s", got)
	}
	if got := silence(within(-time.Second), patience); got != time.Millisecond {
		t.Errorf("a deadline in the past: %s", got)
	}
}

func mustOpen(t *testing.T, f Family) *Conn {
	t.Helper()
	c, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// links asks for the interfaces.
var links = Request{Type: unix.RTM_GETLINK, Flags: unix.NLM_F_DUMP, Payload: make([]byte, unix.SizeofIfInfomsg)}

// TestKernelAnswers asks the kernel itself.
func TestKernelAnswers(t *testing.T) {
	c := mustOpen(t, Route)
	ask := func(ctx context.Context, r Request, limit time.Duration) (messages int, err error) {
		err = c.Ask(ctx, r, limit, func(m Message) error {
			if m.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
				t.Errorf("%+v", m)
			}
			messages++
			return nil
		})
		return messages, err
	}
	if n, err := ask(t.Context(), links, patience); n == 0 || err != nil {
		t.Errorf("%d interfaces, %v", n, err)
	}
	// The kernel does not answer a message of this type, unless it is to be acknowledged.
	silent := Request{Type: unix.NLMSG_NOOP}
	start := time.Now()
	if _, err := ask(t.Context(), silent, 20*time.Millisecond); !errors.Is(err, unix.EAGAIN) || time.Since(start) > patience {
		t.Errorf("no answer: %v after %s", err, time.Since(start))
	}
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := ask(soon, silent, time.Hour); !errors.Is(err, unix.EAGAIN) && !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > patience {
		t.Errorf("no answer before the deadline: %v after %s", err, time.Since(start))
	}
	if n, err := ask(t.Context(), Request{Type: unix.NLMSG_NOOP, Flags: unix.NLM_F_ACK}, patience); n != 0 || err != nil {
		t.Errorf("acknowledged: %d messages, %v", n, err)
	}
	if n, err := ask(t.Context(), Request{Type: 9999}, patience); n != 0 || !errors.Is(err, unix.EOPNOTSUPP) || err.Error() != "receive from rtnetlink: operation not supported" {
		t.Errorf("not understood: %d messages, %v", n, err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := ask(done, links, patience); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %d messages, %v", n, err)
	}
	// The answer to that is still there.
	if n, err := ask(t.Context(), Request{Type: unix.NLMSG_NOOP, Flags: unix.NLM_F_ACK}, patience); n != 0 || err != nil {
		t.Errorf("after an answer that was not read: %d messages, %v", n, err)
	}
	err := c.Ask(t.Context(), links, patience, func(Message) error { return ErrEnough })
	if n, again := ask(t.Context(), links, patience); n == 0 || err != nil || again != nil {
		t.Errorf("after one message was enough (%v): %d interfaces, %v", err, n, again)
	}
}

// TestDump checks that a dump has messages of one kind, and that an answer which is there
// is read after the deadline, too.
func TestDump(t *testing.T) {
	past, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	request := make([]byte, 56) // struct inet_diag_req_v2
	request[0], request[1] = unix.AF_INET, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(request[4:], ^uint32(0))
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	found := false
	err = Dump(past, SockDiag, Request{Type: listDiag, Payload: request}, patience, func(data []byte) error {
		found = found || binary.BigEndian.Uint16(data[4:]) == l.Addr().(*net.TCPAddr).AddrPort().Port()
		return nil
	})
	if err != nil || !found {
		t.Errorf("%v; the listener was found: %t", err, found)
	}
	err = Dump(t.Context(), Route, links, patience, func([]byte) error { return nil })
	if !errors.Is(err, ErrBroken) {
		t.Errorf("the answer has another type than the request: %v", err)
	}
	if err := (Message{Type: listDiag}).ofDump(listDiag); !errors.Is(err, ErrBroken) {
		t.Errorf("not part of a dump: %v", err)
	}
	err = Dump(t.Context(), SockDiag, Request{Type: listDiag, Payload: make([]byte, 1)}, patience, func([]byte) error { return nil })
	if !errors.Is(err, unix.EINVAL) {
		t.Errorf("a request that is too short: %v", err)
	}
}

// TestForgedSender checks that nobody but the kernel is believed.
func TestForgedSender(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	c := mustOpen(t, Route)
	count := func() (n int) {
		t.Helper()
		if err := c.Ask(t.Context(), links, patience, func(Message) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	want := count()
	forger := mustOpen(t, Route)
	forged := message(unix.NLMSG_DONE, multi, c.sequence+1, c.pid, errnoBytes(0)...)
	if err := unix.Sendto(forger.fd, forged, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: c.pid}); err != nil {
		t.Fatal(err)
	}
	if got := count(); got != want {
		t.Errorf("%d interfaces after a forged end, want %d", got, want)
	}
}

// TestDumpsThatLackSomething checks that a dump is an error if the table changes before it
// is read to its end, and if a datagram is cut.
func TestDumpsThatLackSomething(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	const several = 2000 // more than the kernel has ready when the first are read
	c, other := mustOpen(t, Route), mustOpen(t, Route)
	add := func(n int) {
		t.Helper()
		request := make([]byte, unix.SizeofIfAddrmsg, 32)
		request[0], request[1] = unix.AF_INET, 32
		binary.NativeEndian.PutUint32(request[4:], 1) // the index of lo
		for _, kind := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
			request = AppendAttribute(request, kind, []byte{127, 1, byte(n >> 8), byte(n)})
		}
		r := Request{Type: unix.RTM_NEWADDR, Flags: unix.NLM_F_ACK | unix.NLM_F_CREATE, Payload: request}
		if err := other.Ask(t.Context(), r, patience, func(m Message) error { return fmt.Errorf("%+v", m) }); err != nil {
			t.Fatal(err)
		}
	}
	for n := range several {
		add(n)
	}
	addrs := Request{Type: unix.RTM_GETADDR, Flags: unix.NLM_F_DUMP, Payload: []byte{unix.AF_INET, 0, 0, 0, 0, 0, 0, 0}}
	seen, size := 0, 0
	count := func(m Message) error {
		seen, size = seen+1, unix.NLMSG_HDRLEN+len(m.Data)
		return nil
	}
	if err := c.Ask(t.Context(), addrs, patience, count); err != nil || seen < several {
		t.Errorf("%d addresses, %v", seen, err)
	}
	seen = 0
	err := c.Ask(t.Context(), addrs, patience, func(Message) error {
		if seen++; seen == 1 {
			add(several)
		}
		return nil
	})
	if !errors.Is(err, ErrInterrupted) {
		t.Errorf("%d addresses, %v", seen, err)
	}
	// The buffer has room for a whole number of messages, but not for all of a datagram.
	short := mustOpen(t, Route)
	short.buffer = short.buffer[:size]
	if err := short.Ask(t.Context(), addrs, patience, count); !errors.Is(err, ErrBroken) {
		t.Errorf("a datagram that is cut: %v", err)
	}
}

// FuzzAnswer checks that no datagram makes read panic, return bytes outside of it, or
// report an end that it does not have.
func FuzzAnswer(f *testing.F) {
	good := message(listDiag, multi, 7, 42, 1, 2, 3, 4)
	end := message(unix.NLMSG_DONE, multi, 7, 42, errnoBytes(0)...)
	f.Add(slices.Concat(good, good, end), false)
	f.Add(good[:20], false)
	f.Add(message(unix.NLMSG_ERROR, 0, 7, 42, errnoBytes(-105)...), true)
	f.Add(message(unix.NLMSG_ERROR, 0, 7, 42, errnoBytes(0)...), true)
	f.Add(message(listDiag, changed, 7, 42), false)
	f.Add(message(listDiag, multi, 6, 42), false)
	f.Fuzz(func(t *testing.T, datagram []byte, acknowledged bool) {
		conn, size := Conn{pid: 42, sequence: 7}, 0
		done, err := conn.read(datagram, acknowledged, func(m Message) error {
			size += unix.NLMSG_HDRLEN + len(m.Data)
			return nil
		})
		if size > len(datagram) {
			t.Fatalf("%d bytes of messages in %d", size, len(datagram))
		}
		if done && (err != nil || len(datagram) < size+unix.NLMSG_HDRLEN+4) {
			t.Fatalf("done with %v: no room for an end", err)
		}
	})
}
