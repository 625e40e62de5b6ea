// Package metrics serves two pages over HTTP: /metrics and /healthz. It is for readers
// that nobody vouches for: it takes no input but the path, and every request has limits.
package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// mostConnections is how many clients are served at the same time.
	mostConnections = 16
	headerTime      = 5 * time.Second
	writeTime       = 10 * time.Second
	idleTime        = 30 * time.Second
	headerBytes     = 8 << 10
)

// Pages are what is served.
type Pages struct {
	Metrics func(io.Writer) error // in Prometheus' text format
	Health  func() error          // nil if all is well
}

// ParseAddress parses an address to listen on: an IP address and a port. Without an
// address it is loopback. It returns an error for a name: what it means may change.
func ParseAddress(text string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(text)
	if err == nil && (host == "" || host == "localhost") {
		host = "127.0.0.1"
	}
	at, parseErr := netip.ParseAddrPort(net.JoinHostPort(host, port))
	if err != nil || parseErr != nil {
		return at, errors.New("want [ADDRESS]:PORT, such as :9464 (loopback alone), 0.0.0.0:9464 or [::1]:9464")
	}
	return at, nil
}

// Server serves pages until it is closed.
type Server struct {
	listener net.Listener
	server   http.Server
	served   sync.WaitGroup
}

// Listen starts to serve pages at an address.
func Listen(ctx context.Context, at netip.AddrPort, p Pages) (*Server, error) {
	var config net.ListenConfig
	network := "tcp"
	if at.Addr().Is4() {
		network = "tcp4" // 0.0.0.0 would be all IPv6 addresses, too
	}
	l, err := config.Listen(ctx, network, at.String())
	if err != nil {
		return nil, err
	}
	limit := &limited{Listener: l}
	s := &Server{listener: l, server: http.Server{
		Handler: p, ConnState: limit.request, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: headerBytes, DisableGeneralOptionsHandler: true,
		ErrorLog: log.New(io.Discard, "", 0), // it has texts of clients
	}}
	s.served.Go(func() { _ = s.server.Serve(limit) }) // it ends with Close
	return s, nil
}

// Addr returns the address that is served.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close disconnects all clients.
func (s *Server) Close() error {
	err := s.server.Close()
	s.served.Wait()
	return err
}

// ServeHTTP implements http.Handler.
func (p Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // so that nobody reads the body
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD are allowed", http.StatusMethodNotAllowed)
	case r.URL.Path == "/metrics":
		p.metrics(w)
	case r.URL.Path == "/healthz":
		if err := p.Health(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	default:
		http.Error(w, "there are /metrics and /healthz", http.StatusNotFound)
	}
}

func (p Pages) metrics(w http.ResponseWriter) {
	var text bytes.Buffer
	if err := p.Metrics(&text); err != nil {
		http.Error(w, "the metrics could not be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(text.Bytes()) // the client may have gone
}

// limited is a listener that disconnects a client when there are too many. Others who
// connect and send nothing, or little, do not keep a scrape out, which takes milliseconds.
type limited struct {
	net.Listener
	mu   sync.Mutex
	open []*counted // by the start of their last request, or else of the connection
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	added := &counted{Conn: c, of: l}
	l.mu.Lock()
	l.open = append(l.open, added)
	surplus := l.surplus()
	l.mu.Unlock()
	if surplus != nil {
		_ = surplus.Close() // what it had to say does not matter
	}
	return added, nil
}

// surplus returns the client to disconnect, or nil if there are not too many. It is the
// one that has waited for longest: of those without a request, if these are more than
// half, or else of the others.
func (l *limited) surplus() *counted {
	if len(l.open) <= mostConnections {
		return nil
	}
	silent := 0
	for _, c := range l.open {
		if !c.asked {
			silent++
		}
	}
	i := slices.IndexFunc(l.open, func(c *counted) bool { return c.asked == (silent <= mostConnections/2) })
	return l.open[i]
}

// request notes that a client has sent a request.
func (l *limited) request(c net.Conn, state http.ConnState) {
	if state != http.StateActive {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.IndexFunc(l.open, func(o *counted) bool { return o == c }); i >= 0 {
		asked := l.open[i]
		asked.asked = true
		l.open = append(slices.Delete(l.open, i, i+1), asked)
	}
}

// counted is a connection that is one of those of a limited.
type counted struct {
	net.Conn
	of    *limited
	asked bool // it has sent a request
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.of.mu.Lock()
	c.of.open = slices.DeleteFunc(c.of.open, func(o *counted) bool { return o == c })
	c.of.mu.Unlock()
	return c.Conn.Close()
}
