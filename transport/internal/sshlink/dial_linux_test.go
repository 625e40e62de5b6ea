package sshlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

// drip sends a text a byte at a time, again and again, until the connection ends.
func drip(text string) func(net.Conn) {
	return func(c net.Conn) {
		for i := 0; ; i++ {
			if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func TestHostsThatDontAnswerAsTheyShould(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	testbed.Serve(t, "tcp", "127.0.0.1:1001", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	testbed.Serve(t, "tcp", "127.0.0.1:1002", drip("SSH-2.0-slow"+strings.Repeat("x", 300)))
	testbed.Serve(t, "tcp", "127.0.0.1:1003", func(c net.Conn) {
		_, _ = io.WriteString(c, "SSH-2.0-x\r\n") // then nothing
		_, _ = io.Copy(io.Discard, c)
	})
	testbed.Serve(t, "tcp", "127.0.0.1:1004", func(c net.Conn) { _, _ = io.WriteString(c, strings.Repeat("garbage\x1b[31m", 1<<16)) })
	testbed.Serve(t, "tcp", "127.0.0.1:1005", func(c net.Conn) { _, _ = io.WriteString(c, strings.Repeat("HTTP/1.1 400 Bad Request\r\n", 1<<16)) })
	testbed.Serve(t, "tcp", "127.0.0.1:1006", func(net.Conn) {})
	testbed.Serve(t, "tcp", "127.0.0.1:1007", func(c net.Conn) {
		_, _ = io.WriteString(c, "SSH-2.0-x\r\n"+strings.Repeat("\xff", 64))
		_, _ = io.Copy(io.Discard, c)
	})
	testbed.Serve(t, "tcp", "127.0.0.1:1008", drip("a line before the version\n"))
	startSSHD(t, "127.0.0.1:1009", "KexAlgorithms diffie-hellman-group18-sha512")
	o := options(t, startSSHD(t, "127.0.0.1:22"))
	for port, want := range map[int]string{
		1001: "handshake: no answer within 1s",
		1002: "handshake: no answer within 1s",
		1003: "handshake: no answer within 1s",
		1004: "handshake: what listens there does not speak SSH: it has sent \"garbage\\x1b[31mgarbage\\x1b[31mgarbage\\x1b[31mgarbage\\x1b[31mgarbage\\x1b[31m\"; name the port of the host's SSH server",
		1005: "handshake: what listens there does not speak SSH: it has sent \"HTTP/1.1 400 Bad Request\"; name the port of the host's SSH server",
		1006: "handshake: the host closed the connection",
		1007: "handshake: the host violates the SSH protocol: invalid packet length, packet too large",
		1008: "handshake: no answer within 1s",
		1009: "handshake: no common algorithm for key exchange, the host offers: [diffie-hellman-group18-sha512 kex-strict-s-v00@openssh.com]",
		1010: "connect: 127.0.0.1:1010: connection refused; look whether sshd runs on that host, and whether it listens on this port",
	} {
		t.Run(fmt.Sprint(port), func(t *testing.T) {
			t.Parallel()
			o := o
			if strings.HasSuffix(want, "within 1s") {
				o.HandshakeTimeout = time.Second
			}
			began := time.Now()
			err := try(t, o, fmt.Sprintf("ssh://root@127.0.0.1:%d", port))
			if err == nil || err.Error() != want {
				t.Errorf("%v; want %s", err, want)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// full listens on an address with a full backlog: further connections wait.
func full(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if failed := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 0) }); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	for {
		c, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err != nil {
			return
		}
		t.Cleanup(func() { c.Close() })
	}
}

func TestAddressesThatCantBeReached(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	testbed.NeedRoot(t)
	hosts := write(t, t.TempDir()+"/hosts", "169.254.169.254 inside\n::ffff:169.254.1.1 mapped\n127.0.0.1 fine\n")
	if err := os.Chmod(hosts, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	s := startSSHD(t, "")
	o := options(t, s)
	o.KnownHosts = s.KnownHosts(t, "fine", "127.0.0.1")
	full(t, "127.0.0.2:22")
	for target, want := range map[string]string{
		"ssh://inside":               "connect: 169.254.169.254 is refused: it is a cloud's metadata service",
		"ssh://mapped":               "connect: 169.254.1.1 is refused: it is link-local",
		"ssh://169.254.1.1":          "connect: 169.254.1.1 is refused: it is link-local",
		"ssh://[::ffff:a9fe:a9fe]":   "connect: ",
		"ssh://[fe80::1%25lo]":       "connect: fe80::1%lo is refused: it is link-local",
		"ssh://[64:ff9b::a9fe:a9fe]": "connect: 64:ff9b::a9fe:a9fe is refused: it is a cloud's metadata service",
		"ssh://127.0.0.2":            "connect: 127.0.0.2:22: no answer within 500ms",
		"ssh://nowhere.invalid":      "resolve: the name nowhere.invalid",
	} {
		o := o
		if strings.HasSuffix(want, "within 500ms") {
			o.ConnectTimeout = 500 * time.Millisecond
		}
		began := time.Now()
		err := try(t, o, target)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v; want %s", target, err, want)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s: it took %s", target, took)
		}
	}
	if who, err := whoami(t, o, "ssh://root@fine"); err != nil || who != "root" {
		t.Errorf("a valid name: %s, %v", who, err)
	}
}

func TestIPv6(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	s := startSSHD(t, "[::1]:2200")
	if who, err := whoami(t, options(t, s), "ssh://root@[::1]:2200"); err != nil || who != "root" {
		t.Errorf("%s, %v", who, err)
	}
}

// A canceled Dial returns at once, and leaves no connection and no goroutine.
func TestCancelled(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	s := startSSHD(t, "")
	reached := make(chan struct{})
	testbed.Serve(t, "tcp", "127.0.0.1:1001", func(c net.Conn) {
		reached <- struct{}{}
		_, _ = io.Copy(io.Discard, c)
		reached <- struct{}{} // our end is closed
	})
	o := options(t, s)
	o.HandshakeTimeout = time.Minute
	settled := runtime.NumGoroutine()
	for _, target := range []string{"ssh://root@127.0.0.1:1001"} {
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := New(o).Dial(ctx, address(t, target))
			failed <- err
		}()
		<-reached
		cancel()
		select {
		case err := <-failed:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", target, err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s: still dialling", target)
		}
		<-reached
	}
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond) // during any step
		if l, err := New(o).Dial(ctx, address(t, "ssh://root@127.0.0.1")); err == nil {
			l.Close()
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at once: %v", err)
		}
		cancel()
	}
	l, err := New(o).Dial(t.Context(), address(t, "ssh://root@127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > settled+2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, there were %d\n%s", runtime.NumGoroutine(), settled, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// TestManyLinks checks that each of many links needs less than 200 KiB.
func TestManyLinks(t *testing.T) {
	if !testbed.Isolated(t) {
		return
	}
	const links = 100
	s := startSSHD(t, "0.0.0.0:22")
	o := options(t, s)
	o.KnownHosts = s.KnownHosts(t, "127.1.*")
	o.HandshakeTimeout = 30 * time.Second
	d := New(o)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	open := make([]*Link, links)
	slots := make(chan struct{}, 16)
	var all sync.WaitGroup
	began := time.Now()
	for i := range open {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			l, err := d.Dial(t.Context(), address(t, fmt.Sprintf("ssh://root@127.1.0.%d", i+1)))
			if err != nil {
				t.Errorf("%d: %v", i, err)
				return
			}
			open[i] = l
		})
	}
	all.Wait()
	t.Logf("%d links in %s", links, time.Since(began))
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)) / links
	t.Logf("%d KiB each", each>>10)
	if each > 200<<10 {
		t.Errorf("a link costs %d KiB", each>>10)
	}
	for _, l := range open {
		if l != nil {
			l.Close()
		}
	}
}
