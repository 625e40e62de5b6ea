//go:build linux

package oracle

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// A listener that shares a port by SO_REUSEPORT gets each new client with
	// a chance of one half: 24 miss it once in 16 million.
	manyClients = 24
	// answerWithin is much longer than an idle server needs, so that only a
	// hanging one reaches it.
	answerWithin = 15 * time.Second

	nobody      = "nobody"      // refused
	unreachable = "unreachable" // this host has no such address
)

// vantage is a place from which a client connects, and the address that it
// connects to.
type vantage struct {
	protocol string
	addr     netip.Addr
	device   string // on which the connection arrives; "": within the host
}

// dial connects to the port once and returns what answers: the identity of a
// holder, "server" for any other program, or nobody.
func dial(protocol, addr, greeting string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	to := net.JoinHostPort(addr, fmt.Sprint(number))
	ask := askTCP
	if protocol == udp {
		ask = askUDP
	}
	answer, err := ask(ctx, to, greeting)
	if err != nil {
		return refusal(err)
	}
	if line := strings.TrimSpace(answer); strings.HasPrefix(line, holderSays) {
		return line, nil
	}
	return "server", nil
}

func askTCP(ctx context.Context, to, greeting string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, tcp, to)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	// Close by a reset, because a TIME_WAIT would change the situation.
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return "", err
	}
	if err := conn.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, greeting); err != nil {
		return "", err
	}
	answer := make([]byte, 512)
	n, err := conn.Read(answer)
	if n > 0 || errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
		err = nil // a program accepted the connection, but it is not a holder
	}
	return string(answer[:n]), err
}

// askUDP sends from an unconnected socket, because a wildcard server answers from
// the address that the kernel prefers, which may be another one.
func askUDP(ctx context.Context, to, greeting string) (string, error) {
	addr, err := net.ResolveUDPAddr(udp, to)
	if err != nil {
		return "", err
	}
	family, level, option := "udp4", unix.IPPROTO_IP, unix.IP_RECVERR
	if addr.IP.To4() == nil {
		family, level, option = "udp6", unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	// Without this, only a connected socket gets ECONNREFUSED.
	withErrors := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if failed := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) }); failed != nil {
			return failed
		}
		return err
	}}
	conn, err := withErrors.ListenPacket(ctx, family, ":0")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return "", err
	}
	if _, err := conn.WriteTo([]byte(greeting), addr); err != nil {
		return "", err
	}
	answer := make([]byte, 512)
	n, _, err := conn.ReadFrom(answer)
	return string(answer[:n]), err
}

func refusal(err error) (string, error) {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return nobody, nil
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return unreachable, nil
	}
	return "", err
}

// answers maps each vantage to the identities that answered there.
type answers map[vantage][]string

// call connects from each vantage. It connects several times where there is an
// answer, because several listeners may share the port.
func (w *world) call(greeting func(protocol string) string) (answers, error) {
	all := answers{}
	for _, v := range w.vantages() {
		for range manyClients {
			who, err := w.dial(v, greeting(v.protocol))
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", v.protocol, v.addr, err)
			}
			if !slices.Contains(all[v], who) {
				all[v] = append(all[v], who)
			}
			if who == nobody || who == unreachable || len(w.held) == 0 {
				break
			}
		}
		slices.Sort(all[v])
	}
	return all, nil
}

func (w *world) vantages() []vantage {
	var all []vantage
	for _, protocol := range []string{tcp, udp} {
		for _, addr := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
			all = append(all, vantage{protocol, netip.MustParseAddr(addr), ""})
		}
		if w.peer != nil {
			for _, d := range devices {
				all = append(all, vantage{protocol, d.ipv4, d.name})
				if !ipv6Off() { // without IPv6 packets are dropped silently
					all = append(all, vantage{protocol, d.ipv6, d.name})
				}
			}
		}
	}
	return all
}

func (w *world) dial(v vantage, greeting string) (string, error) {
	if v.device == "" {
		return dial(v.protocol, v.addr.String(), greeting)
	}
	addr := v.addr
	if addr.Is6() {
		addr = addr.WithZone(peerOf(v.device))
	}
	return w.peer.dial(v.protocol, addr.String(), greeting)
}

// moved reports whether a client of an earlier listener now reaches another one.
func moved(before, after answers) bool {
	for v, holders := range before {
		if !slices.ContainsFunc(holders, func(who string) bool { return strings.HasPrefix(who, holderSays) }) {
			continue
		}
		for _, who := range after[v] {
			if !slices.Contains(holders, who) {
				return true
			}
		}
	}
	return false
}

// reached reports whether all clients that connect to one of the endpoints reach
// the server.
func reached(after answers, endpoints []endpoint) bool {
	for _, e := range endpoints {
		for v, who := range after {
			if e.Protocol != v.protocol || !e.covers(v.addr) || e.Device != "" && e.Device != v.device || slices.Equal(who, []string{unreachable}) {
				continue
			}
			if !slices.Equal(who, []string{"server"}) {
				return false
			}
		}
	}
	return true
}

// runPeer is the other end of the devices. It dials what each line of stdin asks
// for and prints the answer.
func runPeer([]string) error {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var protocol, addr, greeting string
		if _, err := fmt.Sscanf(lines.Text(), "%q %q %q", &protocol, &addr, &greeting); err != nil {
			return err
		}
		who, err := dial(protocol, addr, greeting)
		if err != nil {
			who = "error: " + err.Error()
		}
		fmt.Println(who)
	}
	return nil
}
