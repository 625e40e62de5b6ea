package host

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const listDiag = diagTCP // any type does

var testAnswer = dumpAnswer{kind: listDiag, sequence: 7, pid: 42}

// message is one netlink message, with this header.
func message(kind, flags uint16, sequence, pid uint32, payload ...byte) []byte {
	m := binary.NativeEndian.AppendUint32(nil, uint32(headerLen+len(payload)))
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

// TestBrokenDumps checks that an answer with any fault is an error, and that the part
// before the fault is not taken for the whole table.
func TestBrokenDumps(t *testing.T) {
	good := message(listDiag, flagMulti, 7, 42, 1, 2, 3, 4)
	end := message(typeDone, flagMulti, 7, 42, errnoBytes(0)...)
	truncated := slices.Clone(good)
	binary.NativeEndian.PutUint32(truncated, 400)
	for _, c := range []struct {
		name string
		text []byte
		want error // nil: the answer is whole
	}{
		{"whole", slices.Concat(good, good, end), nil},
		{"an end alone", end, nil},
		{"noop", slices.Concat(message(typeNoop, 0, 7, 42), end), nil},
		{"nothing", nil, errDumpBroken},
		{"half a header", good[:10], errDumpBroken},
		{"message longer than the datagram", truncated, errDumpBroken},
		{"message shorter than its header", slices.Concat(binary.NativeEndian.AppendUint32(nil, 3), good[4:]), errDumpBroken},
		{"answer to an earlier request", slices.Concat(good, message(listDiag, flagMulti, 6, 42)), errDumpBroken},
		{"end of an earlier request", message(typeDone, flagMulti, 6, 42, errnoBytes(0)...), errDumpBroken},
		{"answer to another process", message(listDiag, flagMulti, 7, 43), errDumpBroken},
		{"another type", message(99, flagMulti, 7, 42), errDumpBroken},
		{"not part of a dump", message(listDiag, 0, 7, 42, 1, 2, 3, 4), errDumpBroken},
		{"interrupted", slices.Concat(good, message(listDiag, flagMulti|flagInterrupted, 7, 42), end), errDumpInterrupted},
		{"interrupted at the end", slices.Concat(good, message(typeDone, flagMulti|flagInterrupted, 7, 42, errnoBytes(0)...)), errDumpInterrupted},
		{"overrun", slices.Concat(good, message(typeOverrun, 0, 7, 42)), unix.ENOBUFS},
		{"error", slices.Concat(good, message(typeError, 0, 7, 42, errnoBytes(-int32(unix.ENOMEM))...)), unix.ENOMEM},
		{"error at the end", slices.Concat(good, message(typeDone, flagMulti, 7, 42, errnoBytes(-int32(unix.EINVAL))...)), unix.EINVAL},
		{"highest errno", message(typeError, 0, 7, 42, errnoBytes(-4095)...), unix.Errno(4095)},
		{"beyond the highest errno", message(typeError, 0, 7, 42, errnoBytes(-4096)...), errDumpBroken},
		{"acknowledgement", message(typeError, 0, 7, 42, errnoBytes(0)...), errDumpBroken},
		{"end without a status", message(typeDone, flagMulti, 7, 42), errDumpBroken},
		{"end with a count", message(typeDone, flagMulti, 7, 42, errnoBytes(5)...), errDumpBroken},
		{"more behind the end", slices.Concat(end, good), errDumpBroken},
	} {
		t.Run(c.name, func(t *testing.T) {
			done, err := testAnswer.read(c.text, func([]byte) error { return nil })
			if !errors.Is(err, c.want) || done != (c.want == nil) {
				t.Errorf("done %t, %v; want %v", done, err, c.want)
			}
		})
	}
	// An answer that stops without an end is not done: dump reads on, and
	// fails when the kernel stays silent.
	if done, err := testAnswer.read(slices.Concat(good, good), func([]byte) error { return nil }); done || err != nil {
		t.Errorf("done %t, %v; want neither", done, err)
	}
}

// An error of the function that parses the messages ends the dump.
func TestDumpReaderFails(t *testing.T) {
	good := message(listDiag, flagMulti, 7, 42, 1, 2, 3, 4)
	seen := 0
	_, err := testAnswer.read(slices.Concat(good, good), func([]byte) error { seen++; return unix.EBADMSG })
	if !errors.Is(err, unix.EBADMSG) || seen != 1 {
		t.Errorf("%v after %d messages", err, seen)
	}
}

func TestReceiveTimeout(t *testing.T) {
	within := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		t.Cleanup(cancel)
		return ctx
	}
	if got := receiveTimeout(t.Context()); got != dumpTimeout {
		t.Errorf("without a deadline: %s", got)
	}
	if got := receiveTimeout(within(time.Hour)); got != dumpTimeout {
		t.Errorf("a late deadline: %s", got)
	}
	if got := receiveTimeout(within(dumpTimeout / 2)); got > dumpTimeout/2 || got < time.Millisecond {
		t.Errorf("an early deadline: %s", got)
	}
	if got := receiveTimeout(within(-time.Second)); got != time.Millisecond {
		t.Errorf("a deadline in the past: %s", got)
	}
}

// A dump is repeated only after errors that may be temporary.
func TestMayWorkAgain(t *testing.T) {
	for err, want := range map[error]bool{
		errDumpInterrupted: true, errDumpBroken: true, unix.ENOBUFS: true, unix.EPERM: false, unix.EAGAIN: false, unix.ENOENT: false,
	} {
		if got := mayWorkAgain(&opError{"receive from sock_diag", err}); got != want {
			t.Errorf("%v: %t, want %t", err, got, want)
		}
	}
}

// FuzzDump checks that no datagram makes read panic, return bytes outside of it, or
// report an end that it does not have.
func FuzzDump(f *testing.F) {
	good := message(listDiag, flagMulti, 7, 42, 1, 2, 3, 4)
	end := message(typeDone, flagMulti, 7, 42, errnoBytes(0)...)
	f.Add(slices.Concat(good, good, end))
	f.Add(good[:20])
	f.Add(message(typeError, 0, 7, 42, errnoBytes(-105)...))
	f.Add(message(listDiag, flagMulti|flagInterrupted, 7, 42))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		size := 0
		done, err := testAnswer.read(datagram, func(m []byte) error {
			size += headerLen + len(m)
			return nil
		})
		if size > len(datagram) {
			t.Fatalf("%d bytes of messages in %d", size, len(datagram))
		}
		if done && (err != nil || len(datagram) < size+headerLen+4) {
			t.Fatalf("done with %v: no room for an end", err)
		}
	})
}
