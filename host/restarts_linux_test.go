package host

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/portcheck/internal/testbed"
)

// A server that restarts again and again beside checks of its port never fails to
// bind, and loses no connection.
func TestRestarts(t *testing.T) {
	restarts, checks := 500, 8
	if text := os.Getenv("PORTCHECK_TEST_RESTARTS"); text != "" { // .ci/nightly has 10,000
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		restarts, checks = n, 64
	}
	t.Run("process", func(t *testing.T) {
		if !inParallel(t) {
			return
		}
		startChecks(t, checks, testbed.Faults{})
		out, err := exec.Command("python3", "-c", serversInTurn, strconv.Itoa(restarts)).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	// The server opens its listener again within microseconds. A process that reads the
	// link of its descriptor at that moment keeps the old one alive (proc_fd_link in
	// fs/proc/fd.c), as `ss -p` does. These checks may not read any.
	t.Run("listener", func(t *testing.T) {
		testbed.NeedRoot(t)
		if !inParallel(t) {
			return
		}
		startChecks(t, checks, testbed.Faults{UID: 65534})
		for i := range restarts {
			if err := serveOne(); err != nil {
				t.Fatalf("start %d: %v", i, err)
			}
		}
	})
}

// startChecks starts a program that checks a port, many times at once, until the test
// ends.
func startChecks(t *testing.T, atOnce int, faults testbed.Faults) {
	// Many binds for each reading of the table: a server that starts often meets one.
	request := tries(t, slices.Repeat([]string{"tcp any 8080", "tcp 127.0.0.1 8080"}, 100)...)
	checks, _ := testbed.StartProgram(t, "check", faults, encode(request), strconv.Itoa(atOnce))
	t.Cleanup(func() {
		_ = checks.Process.Kill() // it may have ended, which Wait tells
		_ = checks.Wait()
		if checks.ProcessState.Exited() {
			t.Errorf("the checks failed: %s", checks.ProcessState)
		}
	})
}

// runChecks prints a line when it has begun.
func runChecks(args []string) error {
	var req Request
	if err := json.Unmarshal([]byte(args[0]), &req); err != nil {
		return err
	}
	atOnce, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var begun, failed sync.Once
	var wait sync.WaitGroup
	for range atOnce {
		wait.Go(func() {
			for {
				if _, bad := (Local{}).Probe(context.Background(), req); bad != nil {
					failed.Do(func() { err = bad })
					return
				}
				begun.Do(func() { fmt.Println("ready") })
			}
		})
	}
	wait.Wait()
	return err
}

// serversInTurn starts a server, each a process of its own, as soon as the last one has
// ended, and stops at the first that fails.
const serversInTurn = `
import os, socket, sys
def serve():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 8080))
    s.listen()
    client = socket.create_connection(("127.0.0.1", 8080))
    conn = s.accept()[0]
    conn.sendall(b"*")
    assert client.recv(1) == b"*"
    client.shutdown(socket.SHUT_WR)
    assert conn.recv(1) == b""
for i in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        try:
            serve()
        except BaseException as e:
            print("start", i, repr(e), flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit(1)
`

// serveOne starts a server, serves one client, and stops it. The client closes the
// connection first, so that no socket of the server stays in TIME_WAIT, which would
// keep everything from its port that binds without SO_REUSEADDR.
func serveOne() error {
	server, err := tcpListener("127.0.0.1:8080").open()
	if err != nil {
		return err
	}
	defer unix.Close(server)
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(client)
	if err := unix.Connect(client, &unix.SockaddrInet4{Port: 8080, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	conn, _, err := unix.Accept4(server, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(conn)
	if _, err := unix.Write(conn, []byte{42}); err != nil {
		return err
	}
	var b [1]byte
	if _, err := unix.Read(client, b[:]); err != nil {
		return err
	}
	if err := unix.Shutdown(client, unix.SHUT_WR); err != nil {
		return err
	}
	_, err = unix.Read(conn, b[:]) // the end
	return err
}
